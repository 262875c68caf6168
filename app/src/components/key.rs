//! Idempotency keys: one for each time a person presses a button, so that a repeated request does nothing twice.

/// In the page only. Need not be secret, only not the same twice; works on pages without `crypto.randomUUID` too.
pub fn new_key() -> String {
    let part = || (js_sys::Math::random() * 2f64.powi(52)) as u64;
    format!("{:013x}{:013x}", part(), part())
}
