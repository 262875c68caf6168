//! Idempotency keys: one for each time a person presses a button, so that a repeated request does nothing twice.

use spec::IdempotencyKey;

/// In the page only. Need not be secret, only not the same twice; works on pages without `crypto.randomUUID` too.
pub fn new_key() -> IdempotencyKey {
    let part = || (js_sys::Math::random() * 2f64.powi(52)) as u64;
    // 26 characters are within the limit.
    format!("{:013x}{:013x}", part(), part()).try_into().unwrap_or_default()
}
