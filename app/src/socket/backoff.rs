//! How long to wait before the next attempt: doubling from 2 to 30 seconds, spread at random.

const FIRST_MS: f64 = 2_000.0;
const LONGEST_MS: f64 = 30_000.0;

#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Milliseconds until the next attempt. `random` is uniform in 0..1, so that many pages do not come back at once.
    pub fn next_delay_ms(&mut self, random: f64) -> u32 {
        let longest = (FIRST_MS * 2f64.powi(self.failures.min(10) as i32)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        (longest * (0.5 + 0.5 * random.clamp(0.0, 1.0))) as u32
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_half_a_minute_and_start_again_after_success() {
        let mut backoff = Backoff::default();
        let delays = (0..7).map(|_| backoff.next_delay_ms(1.0)).collect::<Vec<_>>();
        assert_eq!(delays, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.next_delay_ms(0.0), 1_000);
    }
}
