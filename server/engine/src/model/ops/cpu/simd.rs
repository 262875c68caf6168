//! Compiles a kernel twice, for today's x86 vectors (AVX2 and FMA) and for what every machine of the target has, and picks
//! at run time. On other architectures the target's own vectors are what there is.

/// Runs `work`, which must be `#[inline(always)]`; its argument says whether a fused multiply-add is one instruction here.
#[inline(always)]
#[expect(unsafe_code, reason = "a function with target features may only be called where they were found")]
pub(super) fn vectorised<R>(work: impl FnOnce(bool) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn run<R>(work: impl FnOnce(bool) -> R) -> R {
            work(true)
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: both features were found on this machine.
            return unsafe { run(work) };
        }
    }
    work(cfg!(target_arch = "aarch64"))
}

/// `a * b + c`, fused where that is one instruction; elsewhere a fused one would be a call into libm.
#[inline(always)]
pub(super) fn multiply_add(fused: bool, a: f32, b: f32, c: f32) -> f32 {
    if fused { a.mul_add(b, c) } else { a * b + c }
}
