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

/// Values side by side: a vector of AVX2.
pub(super) const LANES: usize = 8;

/// `sums + a * b`, lane by lane. Where a compiler is left to find the vectors itself, it sometimes pairs values across sums.
#[inline(always)]
pub(super) fn add_products(fused: bool, a: &[f32; LANES], b: &[f32; LANES], sums: [f32; LANES]) -> [f32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if fused {
        return x86::add_products(a, b, sums);
    }
    std::array::from_fn(|lane| multiply_add(fused, a[lane], b[lane], sums[lane]))
}

/// `scales * values`, lane by lane.
#[inline(always)]
pub(super) fn widen(fused: bool, values: &[i8; LANES], scales: &[f32; LANES]) -> [f32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if fused {
        return x86::widen(values, scales);
    }
    let _ = fused;
    std::array::from_fn(|lane| f32::from(values[lane]) * scales[lane])
}

/// Asks for the memory that lies `bytes` behind `place`: weights are read once, in short rows, which the processor's own
/// foresight does not follow across.
#[inline(always)]
pub(super) fn prefetch<T>(place: &T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(std::ptr::from_ref(place).cast(), bytes);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (place, bytes);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _MM_HINT_T0, _mm_loadl_epi64, _mm_prefetch, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_mul_ps, _mm256_storeu_ps,
    };

    use super::LANES;

    #[inline(always)]
    #[expect(unsafe_code, reason = "the instructions are behind unsafe functions")]
    pub(super) fn prefetch(place: *const i8, bytes: usize) {
        // SAFETY: a hint, which never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(bytes)) };
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "the instructions are behind unsafe functions")]
    pub(super) fn add_products(a: &[f32; LANES], b: &[f32; LANES], sums: [f32; LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        // SAFETY: `vectorised` says that a multiply-add is one instruction only where it has found AVX2 and FMA; the arrays have
        // the eight values that are read and written.
        unsafe {
            let sum = _mm256_fmadd_ps(
                _mm256_loadu_ps(a.as_ptr()),
                _mm256_loadu_ps(b.as_ptr()),
                _mm256_loadu_ps(sums.as_ptr()),
            );
            _mm256_storeu_ps(out.as_mut_ptr(), sum);
        }
        out
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "the instructions are behind unsafe functions")]
    pub(super) fn widen(values: &[i8; LANES], scales: &[f32; LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        // SAFETY: as above.
        unsafe {
            let wide = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(values.as_ptr().cast())));
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(wide, _mm256_loadu_ps(scales.as_ptr())));
        }
        out
    }
}
