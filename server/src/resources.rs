//! Data files and base models by id, under the data folder.
//!
//! Ids are made here, never taken from a request; a name is only shown. Holds no state but the folder, so that two
//! of these on one folder agree. Files are kept under the hash of their content and never change.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::Control;
use serde::{Deserialize, Serialize};
use spec::{AppError, DataFile, ModelChoice};

use crate::adapter;
use crate::models::{self, FetchProgress, Source, hub::Hub, wheel};

type Result<T> = std::result::Result<T, AppError>;

const SAMPLES: [(&str, &str, &[u8]); 2] = [
    ("sample-pairs", "Sample: pairs to train on", include_bytes!("../samples/pairs.jsonl")),
    ("sample-responses", "Sample: responses to write for", include_bytes!("../samples/responses.jsonl")),
];

/// Longest name that is kept, in characters.
const MOST_NAME: usize = 120;

pub struct Resources {
    files: PathBuf,
    models: PathBuf,
}

/// Kept beside a data file.
#[derive(Serialize, Deserialize)]
struct FileEntry {
    name: String,
    added_ms: i64,
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
        for (id, _, bytes) in SAMPLES {
            let path = resources.files.join(id);
            if fs::read(&path).is_ok_and(|known| known == bytes) {
                continue;
            }
            engine::artifact::write(&path, bytes).map_err(adapter::error)?;
        }
        Ok(resources)
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

    /// The error with the name that a person gave the file in place of where it lies, which only we chose.
    pub fn by_name(&self, id: &str, mut error: AppError) -> AppError {
        if let Some(file) = self.describe(id) {
            error.message = error.message.replace(&self.files.join(id).display().to_string(), &file.name);
        }
        error
    }

    /// Newest first, samples at the end.
    pub fn files(&self) -> Result<Vec<DataFile>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.files).map_err(io_error(&self.files))?.flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if id.starts_with("file-")
                && is_id(&id)
                && let Some(file) = self.describe(&id)
            {
                found.push(file);
            }
        }
        found.sort_by(|a, b| b.added_ms.cmp(&a.added_ms).then_with(|| a.id.cmp(&b.id)));
        for (id, name, bytes) in SAMPLES {
            let size_bytes = bytes.len() as u64;
            found.push(DataFile { id: id.to_owned(), name: name.to_owned(), size_bytes, added_ms: 0 });
        }
        Ok(found)
    }

    fn describe(&self, id: &str) -> Option<DataFile> {
        let entry: FileEntry = serde_json::from_slice(&fs::read(self.entry_path(id)).ok()?).ok()?;
        let size_bytes = fs::metadata(self.files.join(id)).ok()?.len();
        Some(DataFile { id: id.to_owned(), name: entry.name, size_bytes, added_ms: entry.added_ms })
    }

    fn entry_path(&self, id: &str) -> PathBuf {
        self.files.join(format!("{id}.json"))
    }

    /// Takes a copy of a file of this machine. The same content again gives the same id.
    pub fn import_file(&self, name: &str, path: &Path) -> Result<DataFile> {
        let mut source = File::open(path).map_err(io_error(path))?;
        let mut copy = Temporary::new(&self.files)?;
        io::copy(&mut source, copy.file()).map_err(io_error(path))?;
        self.adopt(name, copy)
    }

    /// Takes over a file that was received under a temporary name; it is gone from there afterwards.
    pub fn add_upload(&self, name: &str, temporary: &Path) -> Result<DataFile> {
        let added = self.import_file(name, temporary)?;
        fs::remove_file(temporary).map_err(io_error(temporary))?;
        Ok(added)
    }

    fn adopt(&self, name: &str, copy: Temporary) -> Result<DataFile> {
        copy.sync()?;
        let sha256 = engine::artifact::sha256_file(copy.path()).map_err(adapter::error)?;
        let id = format!("file-{}", &sha256[..16]);
        if let Some(known) = self.describe(&id) {
            return Ok(known);
        }
        copy.rename(&self.files.join(&id))?;
        let entry = FileEntry { name: shown_name(name), added_ms: now_ms() };
        write_json(&self.entry_path(&id), &entry)?;
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

    fn choice(&self, id: &str, name: String) -> ModelChoice {
        let path = Source::of(id).and_then(|source| models::present(&self.models, &source));
        let size_bytes = path.as_deref().map_or(if id == models::DEFAULT { wheel::SIZE_BYTES } else { 0 }, size_of);
        ModelChoice { id: id.to_owned(), name, present: path.is_some(), size_bytes }
    }

    /// Remembers a model folder or GGUF file of this machine, which stays where it is; its id.
    pub fn import_model(&self, path: &Path) -> Result<String> {
        engine::model::inspect(path).map_err(adapter::error)?;
        let path = fs::canonicalize(path).map_err(io_error(path))?;
        let id = format!("local-{}", &engine::artifact::sha256(path.as_os_str().as_encoded_bytes())[..12]);
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

/// Letters, digits and hyphens: nothing that a path could be made of.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A name as it may be shown: no control characters, no paths, not too long.
fn shown_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let clean: String = last.chars().filter(|character| !character.is_control()).take(MOST_NAME).collect();
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

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> AppError {
    let path = path.to_owned();
    move |source| adapter::error(engine::Error::Io { path, source })
}

/// A file without a name of its own yet; gone unless it is renamed.
struct Temporary(tempfile::NamedTempFile);

impl Temporary {
    fn new(folder: &Path) -> Result<Self> {
        tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder).map(Self).map_err(io_error(folder))
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
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_file_calls_it_as_its_owner_does() {
        let folder = tempfile::tempdir().unwrap();
        let resources = Resources::open(folder.path()).unwrap();
        let source = folder.path().join("x");
        fs::write(&source, "noise").unwrap();
        let id = resources.import_file("my pairs.jsonl", &source).unwrap().id;
        let path = resources.file(&id).unwrap();
        let error = AppError::malformed_file(format!("{}: line 1: no row", path.display()), "");
        assert_eq!(resources.by_name(&id, error).message, "my pairs.jsonl: line 1: no row");
    }

    #[test]
    fn the_same_content_gets_the_same_id_and_a_path_is_no_id() {
        let data = tempfile::tempdir().unwrap();
        let resources = Resources::open(data.path()).unwrap();
        let source = data.path().join("../x.jsonl".trim_start_matches("../"));
        fs::write(&source, "{}\n").unwrap();
        let first = resources.import_file("../../etc/my pairs.jsonl", &source).unwrap();
        let second = resources.import_file("other", &source).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.name, "my pairs.jsonl");
        assert!(resources.file(&first.id).unwrap().starts_with(data.path()));
        for id in ["", "..", "../x.jsonl", "file-0000000000000000", "a/b", "/etc/passwd"] {
            assert_eq!(resources.file(id).unwrap_err().code, spec::ErrorCode::NotFound, "{id}");
        }
    }

    #[test]
    fn the_samples_are_always_there() {
        let data = tempfile::tempdir().unwrap();
        let resources = Resources::open(data.path()).unwrap();
        fs::remove_file(resources.file("sample-pairs").unwrap()).unwrap();
        let again = Resources::open(data.path()).unwrap();
        assert!(again.file("sample-pairs").is_ok() && again.file("sample-responses").is_ok());
        assert_eq!(again.files().unwrap().len(), 2);
    }

    #[test]
    fn a_model_that_nobody_knows_is_refused_with_what_to_use() {
        let data = tempfile::tempdir().unwrap();
        let resources = Resources::open(data.path()).unwrap();
        let error = resources.model("nonsense", &Control::default(), &mut |_, _| {}).unwrap_err();
        assert_eq!(error.code, spec::ErrorCode::MissingModel);
        assert!(error.hint.contains(models::DEFAULT));
    }
}
