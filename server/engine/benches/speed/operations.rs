//! Each operation of a training step alone, and what share of the step it is.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use engine::device::Device;
use engine::measure::{gemm_peak, operations};
use serde_json::{Value, json};

#[derive(Args)]
pub struct Operations {
    #[arg(long)]
    model: PathBuf,
    #[arg(long, default_value_t = 4)]
    batch: usize,
    #[arg(long, default_value_t = 512)]
    seq: usize,
    /// Calls of each
    #[arg(long, default_value_t = 9)]
    times: usize,
    /// Only operations whose name holds this
    #[arg(long, default_value = "")]
    only: String,
}

impl Operations {
    pub fn run(self, device: &Device) -> Result<Value> {
        let config = engine::model::inspect(&self.model)?;
        let peak = gemm_peak(device, &config, self.batch * self.seq);
        let found = operations(device, &config, &vec![self.seq; self.batch], self.times, &self.only);
        let whole: f64 = found.iter().map(|timing| timing.milliseconds * timing.calls as f64).sum();
        let rows: Vec<Value> = found
            .iter()
            .map(|timing| {
                let step_ms = timing.milliseconds * timing.calls as f64;
                json!({
                    "name": timing.name, "calls": timing.calls, "ms": timing.milliseconds, "step_ms": step_ms,
                    "share": step_ms / whole, "gflops": timing.gflops(),
                })
            })
            .collect();
        Ok(json!({ "work": "operations", "gemm_peak_gflops": peak, "step_ms": whole, "operations": rows }))
    }
}
