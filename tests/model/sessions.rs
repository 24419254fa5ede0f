//! Sessions and the store's memory, as `src/pipeline/leases.rs` and `history.rs` keep them.

use kafka_once::domain::claim::SessionId;
use kafka_once::domain::life::Event;
use kafka_once::domain::reasons::HistoryExtent;

use super::broken::Variant;
use super::host::{Lease, Link};
use super::store::Past;
use super::turn::Turn;

impl Turn<'_> {
    /// Opens a session, and reads the history with it. `forgets`: the store forgets everything in between.
    pub fn open_session(&mut self, forgets: bool) {
        let number = u8::try_from(self.at + 1).expect("few");
        let host = self.host();
        host.named += 1;
        let mut name = [0; 16];
        (name[0], name[1]) = (number, host.named);
        let session = SessionId(name);
        self.world.store.open(session);
        if forgets {
            self.world.store.forget();
        }
        self.history_seen();
        let host = self.host();
        (host.lease, host.current) = (Lease::Holds, session);
    }

    /// Our claims may be taken over from now on: whatever is open under them is cancelled and starts again.
    pub fn fence(&mut self) {
        self.host().lease = Lease::None;
        for token in self.tokens(|_| true) {
            self.live(token, Event::Fenced);
        }
    }

    /// A heartbeat: the key is prolonged or found gone, and the history is read.
    pub fn beat(&mut self) {
        let session = self.host().current;
        if !self.world.store.lives(session) {
            self.fence();
        }
        self.history_seen();
    }

    /// Compares the sentinel that came with an answer: gone or another means that everything was forgotten.
    pub fn sentinel_seen(&mut self, sentinel: Option<u8>) {
        if self.scope.variant == Variant::SentinelNotRead {
            return;
        }
        let Some(known) = self.host().history.filter(|known| sentinel != Some(known.sentinel)) else { return };
        self.doubt_everything(known);
        self.host().asks_history = true;
    }

    /// The whole history was read.
    pub fn history_seen(&mut self) {
        let now = self.world.store.history();
        let known = self.host().history;
        if let Some(known) = known
            && let Some(extent) = now.history().forgotten_since(&known.history())
        {
            self.doubt_everything(known);
            let believed = self.host().lease != Lease::None;
            if believed && extent == HistoryExtent::Recent && self.scope.variant != Variant::SessionSurvivesFailOver {
                self.fence();
            }
        }
        let host = self.host();
        (host.history, host.link, host.asks_history) = (Some(now), Link::Up, false);
    }

    fn doubt_everything(&mut self, before: Past) {
        let open = self.scope.variant != Variant::OpenNotDoubted;
        let host = self.host();
        for home in &mut host.homes {
            // The end that is known here is the true one: nothing is told later, so doubt need not grow.
            home.doubt.spread(&before.history(), home.low_water.taken_to());
        }
        for entry in host.entries.iter_mut().filter(|_| open) {
            entry.life.doubt();
        }
    }
}
