//! `cargo xtask dist`: one archive that runs anywhere: the program with its page inside, README, licences, examples.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::build::Server;
use crate::{build, command, page, say, workspace};

const FILES: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];
const FOLDERS: [&str; 1] = ["examples"];

pub fn dist() -> Result<()> {
    page::build()?;
    let archive = archive(&build::server()?)?;
    say::note(&format!("{} ({})", archive.display(), say::size(fs::metadata(&archive)?.len())));
    Ok(())
}

/// Writes `target/dist/backtranslate-VERSION-TARGET.tar.gz`, with one folder of that name inside.
pub fn archive(server: &Server) -> Result<PathBuf> {
    let name = format!("backtranslate-{}-{}", env!("CARGO_PKG_VERSION"), host()?);
    let folder = workspace::target()?.join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{name}.tar.gz"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::best()));
    tar.append_path_with_name(&server.binary, format!("{name}/backtranslate"))?;
    for file in FILES {
        tar.append_path_with_name(workspace::root().join(file), format!("{name}/{file}"))?;
    }
    for folder in FOLDERS {
        tar.append_dir_all(format!("{name}/{folder}"), workspace::root().join(folder))?;
    }
    tar.into_inner()?.finish()?.sync_all()?;
    Ok(path)
}

fn host() -> Result<String> {
    let version = command::stdout(command::tool("rustc").arg("-vV").current_dir(workspace::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// Unpacks the archive in an empty folder, starts the program there, and asks it for its page.
pub fn try_out(archive: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    tar::Archive::new(GzDecoder::new(File::open(archive)?)).unpack(folder.path())?;
    let unpacked = fs::read_dir(folder.path())?.next().context("the archive is empty")??.path();
    for name in FILES.iter().chain(&FOLDERS) {
        ensure!(unpacked.join(name).exists(), "{name} is not in the archive");
    }
    let elsewhere = tempfile::tempdir()?;
    let mut serve = command::tool(&unpacked.join("backtranslate").to_string_lossy());
    serve.args(["serve", "--data", "data", "--listen", "127.0.0.1:0"]).current_dir(elsewhere.path());
    let mut child = serve.stdout(Stdio::piped()).spawn()?;
    let seen = look(&mut child);
    child.kill()?;
    child.wait()?;
    seen
}

fn look(child: &mut Child) -> Result<()> {
    let printed = BufReader::new(child.stdout.take().context("the program has no stdout")?);
    let link = printed
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("http://").map(|(_, link)| link.to_owned()));
    let link = link.context("the program printed no link")?;
    let (address, path) = link.split_once('/').context("the link has no path")?;
    let signed_in = get(address, &format!("/{}", path.trim()), "")?;
    let cookie = signed_in.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_default();
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    for (path, holds) in [("/", "Experiments"), ("/pkg/backtranslate.js", "export"), ("/pkg/backtranslate.css", "{")] {
        let answer = get(address, path, &cookie)?;
        if !answer.starts_with("HTTP/1.1 200") || !answer.contains(holds) {
            bail!("{path} is not served: {}", answer.lines().next().unwrap_or_default());
        }
    }
    Ok(())
}

fn get(address: &str, path: &str, cookie: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
