//! Slows down whoever tries share links that do not exist.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
const MOST_MISSES: u32 = 30;
/// Addresses that are remembered at a time.
const MOST_PEERS: usize = 4_096;

/// Misses of each address in its current window.
#[derive(Default)]
pub struct Limiter {
    peers: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Limiter {
    pub fn is_blocked(&self, peer: IpAddr) -> bool {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(&peer).is_some_and(|(since, misses)| since.elapsed() < WINDOW && *misses >= MOST_MISSES)
    }

    pub fn miss(&self, peer: IpAddr) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MOST_PEERS {
            peers.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        if peers.len() >= MOST_PEERS {
            peers.clear();
        }
        let entry = peers.entry(peer).or_insert_with(|| (Instant::now(), 0));
        if entry.0.elapsed() >= WINDOW {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_misses_block_this_address_only() {
        let limiter = Limiter::default();
        let (guesser, reader) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..MOST_MISSES {
            assert!(!limiter.is_blocked(guesser));
            limiter.miss(guesser);
        }
        assert!(limiter.is_blocked(guesser) && !limiter.is_blocked(reader));
    }
}
