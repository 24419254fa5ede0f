//! A proxy before a server that loses things: every open connection from one moment on, or single replies by chance.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A port of its own that leads to a server, for as long as the process lives.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Whether each connection still forwards, in the order in which they came.
    forwards: Mutex<Vec<Arc<Mutex<bool>>>>,
    loses: AtomicBool,
    loss: Mutex<Option<Loss>>,
    lost: AtomicUsize,
}

/// One of so many replies is lost.
struct Loss {
    chance: StdRng,
    one_of: u32,
}

impl Proxy {
    /// Forwards a port of its own to `server`.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared: Arc<Shared> = Arc::default();
        let proxy = Self { port, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                accept(&client, &upstream, &shared);
            }
        });
        proxy
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on every connection that is open stays open and forwards nothing any more; new ones work.
    pub fn swallow(&self) {
        for forwards in lock(&self.shared.forwards).iter() {
            *lock(forwards) = false;
        }
    }

    /// From now on one of so many replies is lost by chance: the server has done what it was told, and the connection
    /// ends before it can say so.
    pub fn lose_replies(&self, seed: u64, one_of: u32) {
        *lock(&self.shared.loss) = Some(Loss { chance: StdRng::seed_from_u64(seed), one_of });
        self.shared.loses.store(true, Ordering::SeqCst);
    }

    /// From now on every reply arrives again.
    pub fn heal(&self) {
        self.shared.loses.store(false, Ordering::SeqCst);
    }

    /// How many replies were lost.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// How many connections were made through it.
    pub fn connections(&self) -> usize {
        lock(&self.shared.forwards).len()
    }
}

impl Shared {
    /// Whether the reply that has just come is lost.
    fn loses_one(&self) -> bool {
        let loses = self.loses.load(Ordering::SeqCst)
            && lock(&self.loss).as_mut().is_some_and(|loss| loss.chance.random_ratio(1, loss.one_of));
        if loses {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        loses
    }
}

fn accept(client: &TcpStream, upstream: &TcpStream, shared: &Arc<Shared>) {
    let forwards = Arc::new(Mutex::new(true));
    lock(&shared.forwards).push(Arc::clone(&forwards));
    for (from, to, replies) in [(client, upstream, false), (upstream, client, true)] {
        let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
        let _ = to.set_nodelay(true);
        let (forwards, shared) = (Arc::clone(&forwards), Arc::clone(shared));
        std::thread::spawn(move || pump(from, to, &forwards, || replies && shared.loses_one()));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, forwards: &Mutex<bool>, loses: impl Fn() -> bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // The lock is held over the write: nothing passes once `swallow` has returned.
        let forwards = lock(forwards);
        if *forwards && (loses() || to.write_all(&buffer[..count]).is_err()) {
            break;
        }
    }
    if *lock(forwards) {
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
