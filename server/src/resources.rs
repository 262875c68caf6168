//! Data files and base models by id, under the data folder.
//!
//! Ids are made here, never taken from a request; a name is only shown. Holds no state but the folder, so that two
//! of these on one folder agree. Files are kept under the hash of their contents and never change; one that did is
//! refused when a run opens it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use engine::Control;
use engine::artifact::{sha256, sha256_file};
use serde::{Deserialize, Serialize};
use spec::{AppError, CellConfig, DataFile, ModelChoice, SourceFile};

use crate::adapter::{self, io_error};
use crate::clock::now_ms;
use crate::models::{self, FetchProgress, Source, hub::Hub, wheel};

type Result<T> = std::result::Result<T, AppError>;

/// A file that ships inside the program.
struct Sample {
    id: &'static str,
    name: &'static str,
    bytes: &'static [u8],
}

const SAMPLES: [Sample; 2] = [
    Sample { id: "sample-pairs", name: "Sample: pairs to train on", bytes: include_bytes!("../samples/pairs.jsonl") },
    Sample {
        id: "sample-responses",
        name: "Sample: responses to write for",
        bytes: include_bytes!("../samples/responses.jsonl"),
    },
];

/// Of both sample files.
const SAMPLE_NOTICE: &str = "Written for this project and dedicated to the public domain (CC0 1.0).";

static SAMPLE_HASHES: LazyLock<[String; 2]> = LazyLock::new(|| SAMPLES.map(|sample| sha256(sample.bytes)));

/// In characters.
const MAX_NAME: usize = 120;
/// Of an upload's sha256, as its id holds it.
const ID_DIGITS: usize = 16;
const UPLOAD: &str = "file-";
const TEMPORARY: &str = ".tmp-";

pub struct Resources {
    files: PathBuf,
    models: PathBuf,
}

/// Kept beside a data file.
#[derive(Serialize, Deserialize)]
struct FileEntry {
    name: String,
    added_ms: i64,
    /// Empty in entries of earlier versions: then its id, which starts with it, is all that is known.
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    notice: String,
}

/// Kept in place of a model that lies elsewhere and is used where it is.
#[derive(Serialize, Deserialize)]
struct LocalModel {
    name: String,
    path: PathBuf,
}

impl Resources {
    /// Makes the folders and puts the samples there.
    pub fn open(data: &Path) -> Result<Self> {
        let resources = Self { files: data.join("files"), models: data.join("models") };
        for folder in [&resources.files, &resources.models] {
            fs::create_dir_all(folder).map_err(io_error(folder))?;
        }
        for sample in &SAMPLES {
            let path = resources.files.join(sample.id);
            if fs::read(&path).is_ok_and(|known| known == sample.bytes) {
                continue;
            }
            engine::artifact::write(&path, sample.bytes).map_err(adapter::error)?;
        }
        Ok(resources)
    }

    /// Removes what killed processes left half written. Only for the process that holds the data folder's lock.
    pub fn sweep(&self) -> Result<()> {
        for folder in [&self.files, &self.models] {
            engine::artifact::sweep(folder).map_err(adapter::error)?;
            for entry in fs::read_dir(folder).map_err(io_error(folder))?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                    fs::remove_file(entry.path()).map_err(io_error(&entry.path()))?;
                }
            }
        }
        Ok(())
    }

    /// Where a data file lies.
    pub fn file(&self, id: &str) -> Result<PathBuf> {
        let unknown = || {
            AppError::not_found(
                format!("there is no data file with the id {id:?}"),
                "Choose one of the files in the list, or upload it again.",
            )
        };
        if !is_id(id) {
            return Err(unknown());
        }
        let path = self.files.join(id);
        if path.is_file() { Ok(path) } else { Err(unknown()) }
    }

    /// Where a data file lies, after its contents were compared with its hash. Reads it whole.
    pub fn verified_file(&self, id: &str) -> Result<PathBuf> {
        let path = self.file(id)?;
        let expected = self.expected_sha256(id);
        let found = sha256_file(&path).map_err(adapter::error)?;
        if found.starts_with(&expected) {
            return Ok(path);
        }
        let name = self.file_name(id).unwrap_or_else(|| id.to_owned());
        Err(AppError::corrupt(
            format!(
                "{name}: its sha256 is {found}, but that of the uploaded file starts with {}; the copy at {} was changed \
                 or damaged",
                &expected[..ID_DIGITS.min(expected.len())],
                path.display()
            ),
            if sample(id).is_some() {
                "Restart the server: it restores the sample files."
            } else {
                "Upload the same file again: it replaces the damaged copy."
            },
        ))
    }

    /// The start of the sha256 that the file's contents must have, or all of it.
    fn expected_sha256(&self, id: &str) -> String {
        match (sample(id), self.entry(id), id.strip_prefix(UPLOAD)) {
            (Some(at), ..) => SAMPLE_HASHES[at].clone(),
            (None, Some(entry), _) if !entry.sha256.is_empty() => entry.sha256,
            (None, _, Some(digits)) => digits.to_owned(),
            (None, _, None) => String::new(),
        }
    }

    /// Identifies the contents of the file that a configuration names, without reading it; empty if it names none, or
    /// one that is missing.
    pub fn identity(&self, config: &CellConfig) -> String {
        let id = match config {
            CellConfig::Data(config) => &config.file,
            CellConfig::Generate(config) => &config.file,
            CellConfig::Model(_)
            | CellConfig::Train(_)
            | CellConfig::Curate(_)
            | CellConfig::Report(_)
            | CellConfig::Note(_) => return String::new(),
        };
        if self.file(id).is_err() {
            return String::new();
        }
        match (sample(id), id.strip_prefix(UPLOAD)) {
            (Some(at), _) => SAMPLE_HASHES[at][..ID_DIGITS].to_owned(),
            (None, digits) => digits.unwrap_or_default().to_owned(),
        }
    }

    /// What its owner calls a file.
    pub fn file_name(&self, id: &str) -> Option<String> {
        self.describe(id).map(|file| file.name)
    }

    /// A file as runs and reports name it.
    pub fn source(&self, id: &str) -> SourceFile {
        match self.describe(id) {
            Some(file) => SourceFile { name: file.name, notice: file.notice },
            None => SourceFile { name: id.to_owned(), notice: String::new() },
        }
    }

    /// The error with the name that a person gave the file in place of its path, which only we chose.
    pub fn by_name(&self, id: &str, mut error: AppError) -> AppError {
        if let Some(name) = self.file_name(id) {
            error.message = error.message.replace(&self.files.join(id).display().to_string(), &name);
        }
        error
    }

    /// Newest first, samples at the end.
    pub fn files(&self) -> Result<Vec<DataFile>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.files).map_err(io_error(&self.files))?.flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if id.starts_with(UPLOAD)
                && is_id(&id)
                && let Some(file) = self.describe(&id)
            {
                found.push(file);
            }
        }
        found.sort_by(|a, b| b.added_ms.cmp(&a.added_ms).then_with(|| a.id.cmp(&b.id)));
        found.extend(SAMPLES.iter().filter_map(|sample| self.describe(sample.id)));
        Ok(found)
    }

    /// None if there is no such file.
    fn describe(&self, id: &str) -> Option<DataFile> {
        let size_bytes = fs::metadata(self.file(id).ok()?).ok()?.len();
        let (name, notice, added_ms) = match sample(id).map(|at| &SAMPLES[at]) {
            Some(sample) => (sample.name.to_owned(), SAMPLE_NOTICE.to_owned(), 0),
            // Without an entry, a killed process of an earlier version left it: still a file that was uploaded whole.
            None => self
                .entry(id)
                .map_or_else(|| (id.to_owned(), String::new(), 0), |entry| (entry.name, entry.notice, entry.added_ms)),
        };
        Some(DataFile { id: id.to_owned(), name, size_bytes, added_ms, notice })
    }

    fn entry(&self, id: &str) -> Option<FileEntry> {
        serde_json::from_slice(&fs::read(self.entry_path(id)).ok()?).ok()
    }

    fn entry_path(&self, id: &str) -> PathBuf {
        self.files.join(format!("{id}.json"))
    }

    /// Takes a copy of a file of this machine. The same content again gives the same id.
    pub fn import_file(&self, name: &str, path: &Path) -> Result<DataFile> {
        let mut source = File::open(path).map_err(io_error(path))?;
        let mut copy = Temporary::new(&self.files)?;
        io::copy(&mut source, copy.file()).map_err(io_error(path))?;
        self.adopt(name, "", copy)
    }

    /// Adds a text as a file; `notice` is carried by reports that use it.
    pub fn import_text(&self, name: &str, notice: &str, text: &str) -> Result<DataFile> {
        let mut copy = Temporary::new(&self.files)?;
        copy.file().write_all(text.as_bytes()).map_err(io_error(copy.path()))?;
        self.adopt(name, notice, copy)
    }

    /// Takes over a file that was received under a temporary name; it is gone from there afterwards.
    pub fn add_upload(&self, name: &str, temporary: &Path) -> Result<DataFile> {
        let added = self.import_file(name, temporary)?;
        fs::remove_file(temporary).map_err(io_error(temporary))?;
        Ok(added)
    }

    fn adopt(&self, name: &str, notice: &str, copy: Temporary) -> Result<DataFile> {
        copy.sync()?;
        let sha256 = sha256_file(copy.path()).map_err(adapter::error)?;
        let id = format!("{UPLOAD}{}", &sha256[..ID_DIGITS]);
        // The entry first: what is listed without its file is not shown, and a file never lacks its name.
        if self.entry(&id).is_none_or(|entry| entry.sha256.is_empty()) {
            let known = self.entry(&id);
            let added_ms = known.as_ref().map_or_else(now_ms, |entry| entry.added_ms);
            let name = known.map_or_else(|| shown_name(name), |entry| entry.name);
            write_json(&self.entry_path(&id), &FileEntry { name, added_ms, sha256, notice: notice.to_owned() })?;
        }
        // Also where the file is there already: its copy may be damaged.
        copy.rename(&self.files.join(&id))?;
        self.describe(&id).ok_or_else(|| AppError::internal(format!("{id} vanished after it was written"), ""))
    }

    /// Where the base model lies; fetched first where it is not here. `progress` gets bytes.
    pub fn model(&self, id: &str, control: &Control, progress: FetchProgress<'_>) -> Result<PathBuf> {
        if let Some(local) = self.local(id) {
            return if local.path.exists() {
                Ok(local.path)
            } else {
                Err(AppError::missing_model(
                    format!("the base model {} is no longer at {}", local.name, local.path.display()),
                    "Put it back there, or choose another model.",
                ))
            };
        }
        match Source::of(id) {
            Some(source) => models::fetch(&self.models, &source, &Hub::from_environment(), control, progress),
            None => Err(AppError::missing_model(
                format!("there is no base model with the id {id:?}"),
                format!(
                    "Use `{}`, an id of the form owner/name on the hub, or a model added at start with --model PATH.",
                    models::DEFAULT
                ),
            )),
        }
    }

    /// Is it on this machine already?
    pub fn has_model(&self, id: &str) -> bool {
        match self.local(id) {
            Some(local) => local.path.exists(),
            None => Source::of(id).is_some_and(|source| models::present(&self.models, &source).is_some()),
        }
    }

    /// The default first, then what is here.
    pub fn models(&self) -> Result<Vec<ModelChoice>> {
        let mut found = vec![self.choice(models::DEFAULT, "SmolLM2-135M-Instruct (Q4_1)".to_owned())];
        let mut names: Vec<String> = fs::read_dir(&self.models)
            .map_err(io_error(&self.models))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        for name in names {
            if let Some(local) = name.strip_suffix(".json").and_then(|id| self.local(id)) {
                let id = name.trim_end_matches(".json");
                found.push(ModelChoice {
                    id: id.to_owned(),
                    name: local.name,
                    present: local.path.exists(),
                    size_bytes: size_of(&local.path),
                });
            } else if let Some(id) = models::id_of_folder(&name).filter(|id| id != models::DEFAULT) {
                found.push(self.choice(&id, id.clone()));
            }
        }
        Ok(found)
    }

    /// A model as lists show it.
    pub fn model_name(&self, id: &str) -> String {
        self.local(id).map_or_else(|| id.to_owned(), |local| local.name)
    }

    fn choice(&self, id: &str, name: String) -> ModelChoice {
        let path = Source::of(id).and_then(|source| models::present(&self.models, &source));
        let size_bytes = path.as_deref().map_or(if id == models::DEFAULT { wheel::SIZE_BYTES } else { 0 }, size_of);
        ModelChoice { id: id.to_owned(), name, present: path.is_some(), size_bytes }
    }

    /// Remembers a model folder or GGUF file of this machine, which stays where it is; its id.
    pub fn import_model(&self, path: &Path) -> Result<String> {
        engine::model::inspect(path).map_err(adapter::error)?;
        let path = fs::canonicalize(path).map_err(io_error(path))?;
        let id = format!("local-{}", &sha256(path.as_os_str().as_encoded_bytes())[..12]);
        let name = path.file_name().map_or_else(|| id.clone(), |name| shown_name(&name.to_string_lossy()));
        write_json(&self.models.join(format!("{id}.json")), &LocalModel { name, path })?;
        Ok(id)
    }

    fn local(&self, id: &str) -> Option<LocalModel> {
        if !(id.starts_with("local-") && is_id(id)) {
            return None;
        }
        serde_json::from_slice(&fs::read(self.models.join(format!("{id}.json"))).ok()?).ok()
    }
}

/// Its place among the samples.
fn sample(id: &str) -> Option<usize> {
    SAMPLES.iter().position(|sample| sample.id == id)
}

/// Letters, digits and hyphens: nothing that a path could be made of.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A name as it may be shown: no control characters, no paths, not too long.
fn shown_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let clean: String = last.chars().filter(|character| !character.is_control()).take(MAX_NAME).collect();
    if clean.trim().is_empty() { "unnamed".to_owned() } else { clean.trim().to_owned() }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| AppError::internal(format!("{}: {error}", path.display()), ""))?;
    engine::artifact::write(path, &bytes).map_err(adapter::error)
}

fn size_of(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum(),
        Err(_) => fs::metadata(path).map_or(0, |file| file.len()),
    }
}

/// A file without a name of its own yet; gone unless it is renamed.
struct Temporary(tempfile::NamedTempFile);

impl Temporary {
    fn new(folder: &Path) -> Result<Self> {
        tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder).map(Self).map_err(io_error(folder))
    }

    fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn sync(&self) -> Result<()> {
        self.0.as_file().sync_all().map_err(io_error(self.path()))
    }

    fn rename(self, target: &Path) -> Result<()> {
        self.0.persist(target).map_err(|error| io_error(target)(error.error))?;
        match target.parent() {
            Some(parent) => File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_error(parent)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
