//! One measurement per call, one JSON object on stdout: the work that `cargo xtask bench` times against its peers.
//!
//! Everything goes through the engine's public functions, so what is timed is what a run does. Peak memory is the
//! process's own, which is why each measurement is a process.
#![expect(clippy::disallowed_methods, reason = "a bench needs no durable writes")]

mod generate;
mod int8;
mod memory;
mod operations;
mod text;
mod train;

use std::path::Path;

use clap::{Parser, Subcommand};
use engine::device::Device;
use engine::model::BaseModel;

#[global_allocator]
static ALLOCATOR: engine::memory::Allocator = engine::memory::ALLOCATOR;

#[derive(Parser)]
#[command(about = "Times the engine; prints one JSON object")]
struct Arguments {
    #[command(subcommand)]
    work: Work,
    /// `flex`, or `flex:composed` for the path without the fused kernels
    #[arg(long, global = true, default_value = "flex")]
    device: String,
    /// What cargo passes to every bench
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Work {
    /// Each operation of a training step alone
    Operations(operations::Operations),
    /// Training steps on sequences of one length
    Train(train::Fixed),
    /// Training steps on real pairs
    Pairs(train::Real),
    /// Memory along a thousand steps of a small model
    Flat(train::Flat),
    /// Peak memory of a step of TinyLlama's dimensions with random weights
    Memory(memory::Memory),
    /// What int8 quantization costs in likelihood
    Int8(int8::Int8),
    /// Instructions for the first responses of a file
    Generate(generate::Generate),
}

fn main() -> anyhow::Result<()> {
    engine::memory::retain_pages();
    engine::threads::join_rayon_pool()?;
    let arguments = Arguments::parse();
    let device = Device::open(&arguments.device)?;
    let mut found = match arguments.work {
        Work::Operations(work) => work.run(&device)?,
        Work::Train(work) => work.run(&device)?,
        Work::Pairs(work) => work.run(&device)?,
        Work::Flat(work) => work.run(&device)?,
        Work::Memory(work) => work.run(&device)?,
        Work::Int8(work) => work.run(&device)?,
        Work::Generate(work) => work.run(&device)?,
    };
    found["device"] = arguments.device.into();
    found["peak_rss_mb"] = (engine::memory::peak_bytes() >> 20).into();
    #[expect(clippy::print_stdout, reason = "the measurement is what this program is for")]
    {
        println!("{found}");
    }
    Ok(())
}

fn load(path: &Path, device: &Device) -> anyhow::Result<BaseModel> {
    Ok(BaseModel::load(path, device, &mut |_, _| {})?)
}
