//! CPU kernels for training and running a Llama: slices in, slices out, on all threads of rayon's pool.
//!
//! Matrices are row-major `f32` slices, contiguous unless a stride is given. Every kernel is compiled for AVX-512, for
//! AVX2 and for the plain target, and the best is chosen at run time (`simd`). A row's result depends on that row alone
//! and every sum has one order, so results depend neither on the number of threads nor on the other rows of a batch.
//!
//! Public functions check the sizes they are given and panic where these do not agree; nothing they accept is undefined
//! behaviour. This crate holds the project's unsafe code, except the allocator's settings (`engine::memory`).

#![expect(unsafe_code, reason = "SIMD instructions, GEMM by pointers, and outputs that several threads write")]

pub mod attention;
pub mod cross_entropy;
mod dropout;
pub mod elementwise;
mod exp;
mod gemm;
mod gemv;
pub mod int8;
mod kv_cache;
pub mod lora;
mod output;
mod packed_gemm;
mod simd;
mod tile;

pub use dropout::Dropout;
pub use gemm::{linear_backward, linear_backward_add};
pub use gemv::linear_decode;
pub use kv_cache::{LayerCache, attend_cached};
pub use output::parallel_copy;
pub use packed_gemm::linear;
