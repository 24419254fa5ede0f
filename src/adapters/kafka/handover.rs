//! Handing over to the pipeline: in order, over a bounded channel, without ever stopping the polling for long.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Sender, error::TrySendError};

use crate::ports::Intake;

/// The pipeline has dropped its end of the channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// What is to be handed over. Bounded: while anything waits, no records are taken in, so only news of the group queue.
pub(super) struct Handover {
    intake: Sender<Intake>,
    waiting: VecDeque<Intake>,
    runtime: Runtime,
}

impl Handover {
    /// Hands over through `intake`.
    pub(super) fn new(intake: Sender<Intake>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { intake, waiting: VecDeque::new(), runtime })
    }

    /// Puts a message behind all others.
    pub(super) fn push(&mut self, message: Intake) {
        self.waiting.push_back(message);
    }

    /// Hands over what there is room for; whether nothing is left.
    pub(super) fn flush(&mut self) -> Result<bool, Gone> {
        while let Some(message) = self.waiting.pop_front() {
            match self.intake.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    self.waiting.push_front(message);
                    return Ok(false);
                }
                Err(TrySendError::Closed(_)) => return Err(Gone),
            }
        }
        Ok(true)
    }

    /// Hands over everything, waiting for room for at most `patience`; whether nothing is left.
    pub(super) fn flush_within(&mut self, patience: Duration) -> Result<bool, Gone> {
        if self.flush()? {
            return Ok(true);
        }
        let (intake, waiting) = (&self.intake, &mut self.waiting);
        let all = async {
            while !waiting.is_empty() {
                let room = intake.reserve().await.map_err(|_| Gone)?;
                if let Some(message) = waiting.pop_front() {
                    room.send(message);
                }
            }
            Ok(true)
        };
        self.runtime.block_on(async { tokio::time::timeout(patience, all).await }).unwrap_or(Ok(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_up(message: Option<&Intake>) -> Option<bool> {
        match message {
            Some(Intake::BrokerUp(up)) => Some(*up),
            _ => None,
        }
    }

    #[test]
    fn a_full_channel_keeps_the_order_and_loses_nothing() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let mut handover = Handover::new(sender).expect("a runtime");
        handover.push(Intake::BrokerUp(true));
        handover.push(Intake::BrokerUp(false));
        assert_eq!(handover.flush(), Ok(false));
        assert_eq!(handover.flush_within(Duration::from_millis(1)), Ok(false));
        assert_eq!(is_up(receiver.blocking_recv().as_ref()), Some(true));
        assert_eq!(handover.flush(), Ok(true));
        assert_eq!(is_up(receiver.blocking_recv().as_ref()), Some(false));
        drop(receiver);
        handover.push(Intake::BrokerUp(true));
        assert_eq!(handover.flush_within(Duration::from_secs(60)), Err(Gone));
    }
}
