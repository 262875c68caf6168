//! `serve`: the notebook over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::flags::{DataFolderFlag, DeviceFlag};
use super::output::Output;
use super::{Result, interrupt, runtime};
use crate::http::{HttpOptions, HttpServer};
use crate::service::Service;
use crate::settings::Settings;

#[derive(Debug, Args)]
#[command(after_help = "\
Prints a link with an access token; opening it signs the browser in. Ctrl-C saves the active run and stops the server.
Nothing that was shown as saved is lost, and an interrupted run can be resumed in the page.

Examples:
  backtranslate serve
  backtranslate serve --data ~/experiments --model ~/models/TinyLlama_v1.1
  backtranslate serve --listen 0.0.0.0:3000 --allow-host lab.example.org")]
pub struct Serve {
    #[command(flatten)]
    folder: DataFolderFlag,
    /// Address and port; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// No sign-in: everyone who can connect has access; only on a loopback address
    #[arg(long)]
    no_auth: bool,
    /// Also accept requests to this host name; can be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// A folder with the page's built files, in place of those in this program
    #[arg(long, value_name = "DIR", hide = true)]
    site: Option<PathBuf>,
    /// Offer this model folder or GGUF file, which stays where it is; can be repeated
    #[arg(long = "model", value_name = "PATH")]
    models: Vec<PathBuf>,
    /// Max runs in the queue
    #[arg(long, value_name = "N", default_value_t = 32)]
    queue_limit: u32,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Serve {
    pub fn run(&self, output: &Output) -> Result<()> {
        let runtime = runtime()?;
        let _entered = runtime.enter();
        let mut settings = Settings::new(&self.folder.data);
        settings.device.clone_from(&self.device.device);
        settings.queue_limit = self.queue_limit;
        let service = Service::open(settings)?;
        for model in &self.models {
            service.resources().import_model(model)?;
        }
        let mut options = HttpOptions::new(self.listen, &self.folder.data);
        options.site.clone_from(&self.site);
        options.no_auth = self.no_auth;
        options.allowed_hosts.clone_from(&self.allowed_hosts);
        runtime.block_on(async {
            let server = HttpServer::bind(service, &options).await?;
            let answer =
                json!({ "link": server.link(), "address": server.address().to_string(), "data": self.folder.data });
            output.answer(&answer, |text| {
                text.line("");
                text.line(format_args!("  Open  {}", server.link()));
                text.line("");
                text.line(format_args!("  Data  {}   (Ctrl-C stops; runs are saved)", self.folder.data.display()));
            })?;
            let stop = CancellationToken::new();
            let stopping = stop.clone();
            tokio::spawn(async move {
                interrupt::requested().await;
                tracing::info!("stopping: a run that is under way saves first");
                stopping.cancel();
                interrupt::exit_when_requested().await
            });
            server.run(stop).await;
            Ok(())
        })
    }
}
