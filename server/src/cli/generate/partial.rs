//! The rows of an output file that is not complete yet, so that a stopped or killed process loses none and the same
//! command resumes.
//!
//! `FILE.partial` lies beside the output: one line that says which job it belongs to, then one line per finished row. What
//! a row's line holds is all that the model wrote; the pair is made of it and of the corpus again. The file is locked while
//! it is open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::generate::{GeneratedRow, GeneratedText};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{AppError, GeneratedPair};

use crate::adapter;
use crate::cli::Result;
use crate::cli::files::check_output;
use crate::work;

const VERSION: u32 = 1;
/// What every such file begins with; tells one whose first line was cut off from somebody else's file.
const BEGINNING: &str = "{\"partial_output\":";
/// A power cut loses at most the rows of this time; a killed process loses none.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// Of a value as it is shown.
const MAX_CHARACTERS: usize = 80;

pub struct Partial {
    target: PathBuf,
    path: PathBuf,
    file: File,
    header: Option<Header>,
    rows: Vec<Row>,
    synced: Instant,
    /// The file holds nothing of worth: it goes when this does.
    removable: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    partial_output: u32,
    /// An output of an earlier job lay there when this job started, and stays until this one is complete.
    replaces: bool,
    job: Value,
}

#[derive(Serialize, Deserialize)]
struct Row {
    index: u32,
    ids: Vec<u32>,
    text: String,
    stopped_by: Option<u32>,
    response_tokens_cut: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<GeneratedText>,
}

impl Partial {
    /// Checks that the output can be written, before anything else is done, and reads what an earlier process left.
    pub fn open(target: &Path) -> Result<Self> {
        check_output(target)?;
        let mut path = target.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(io(&path))?;
        match file.try_lock() {
            // Some network file systems know no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(AppError::conflict(
                    format!("another process is writing {}", target.display()),
                    "Wait until it ends, or write to another file.",
                ));
            }
        }
        let mut partial = Self {
            target: target.to_owned(),
            path,
            file,
            header: None,
            rows: Vec::new(),
            synced: Instant::now(),
            removable: false,
        };
        // A file that is refused here is somebody else's, and stays.
        partial.read()?;
        partial.removable = partial.header.is_none();
        Ok(partial)
    }

    /// Takes the header and the rows up to the first line that is not whole.
    fn read(&mut self) -> Result<()> {
        let mut reader = BufReader::new(&self.file);
        let (mut line, mut end) = (Vec::new(), 0);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(io(&self.path))?;
            let whole = line.ends_with(b"\n");
            if self.header.is_none() {
                let is_ours =
                    line.starts_with(BEGINNING.as_bytes()) || (!whole && BEGINNING.as_bytes().starts_with(&line));
                let header = whole.then(|| serde_json::from_slice::<Header>(&line).ok()).flatten();
                self.header = header.filter(|header| header.partial_output == VERSION);
                if self.header.is_none() && (whole || !is_ours) {
                    return Err(AppError::conflict(
                        format!("{} was not written by this version of backtranslate", self.path.display()),
                        "Move it away, or write to another file.",
                    ));
                }
            } else if let Some(row) = whole.then(|| serde_json::from_slice(&line).ok()).flatten() {
                self.rows.push(row);
            } else {
                break;
            }
            if !whole {
                break;
            }
            end += length as u64;
        }
        self.file.set_len(end).map_err(io(&self.path))
    }

    /// Starts this job, or resumes it: the rows that are finished. Another job is refused, unless its rows may go.
    pub fn begin(&mut self, job: Value, overwrite: bool) -> Result<Vec<GeneratedRow>> {
        if let Some(header) = self.header.as_ref().filter(|_| !overwrite) {
            let differences = differences(&header.job, &as_read(&job)?);
            if !differences.is_empty() {
                return Err(AppError::conflict(
                    format!(
                        "{} holds {} rows of another job: {}",
                        self.path.display(),
                        self.rows.len(),
                        differences.join("; ")
                    ),
                    "Repeat that job's command to complete it, write to another file, or discard its rows with --overwrite.",
                ));
            }
            return Ok(std::mem::take(&mut self.rows).into_iter().map(GeneratedRow::from).collect());
        }
        self.rows.clear();
        self.file.set_len(0).map_err(io(&self.path))?;
        let header = Header { partial_output: VERSION, replaces: self.target.exists(), job };
        self.append(&header)?;
        self.header = Some(header);
        self.removable = false;
        self.sync()?;
        Ok(Vec::new())
    }

    pub fn push(&mut self, row: &GeneratedRow) -> Result<()> {
        self.append(&Row::from(row))?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// After a stop: what is finished is readable in the output too, unless that would replace another job's. Where the
    /// rows are.
    pub fn stop(mut self, pairs: &[GeneratedPair]) -> Result<PathBuf> {
        self.sync()?;
        if pairs.is_empty() || self.header.as_ref().is_none_or(|header| header.replaces) {
            return Ok(self.path.clone());
        }
        work::generate::write_pairs(&self.target, pairs)?;
        Ok(self.target.clone())
    }

    /// The complete output in place of the partial one.
    pub fn finish(mut self, pairs: &[GeneratedPair]) -> Result<()> {
        work::generate::write_pairs(&self.target, pairs)?;
        self.removable = true;
        Ok(())
    }

    /// In one call, so that a killed process leaves a whole line or none.
    fn append(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)
            .map_err(|error| AppError::internal(format!("a row cannot be written as JSON: {error}"), ""))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(io(&self.path))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(io(&self.path))?;
        self.synced = Instant::now();
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.removable {
            // If it stays, the next command takes it for an empty one, or for a job with nothing left to do.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Numbers as a file gives them back.
fn as_read(job: &Value) -> Result<Value> {
    serde_json::from_str(&job.to_string())
        .map_err(|error| AppError::internal(format!("the job cannot be read back from JSON: {error}"), ""))
}

/// `learning_rate was 0.001 and is 0.0005`, for each field that differs; nested fields go by their own name.
fn differences(saved: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("settings", saved, now, &mut found);
    found
}

fn compare(name: &str, saved: &Value, now: &Value, found: &mut Vec<String>) {
    match (saved, now) {
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let of = |fields: &serde_json::Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                compare(key, &of(before), &of(after), found);
            }
        }
        _ if saved == now => {}
        _ => found.push(format!("{name} was {} and is {}", shown(saved), shown(now))),
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        value => value.to_string(),
    };
    if text.chars().count() <= MAX_CHARACTERS {
        return text;
    }
    text.chars().take(MAX_CHARACTERS - 1).chain(['…']).collect()
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> AppError {
    let path = path.to_owned();
    move |error| adapter::error(engine::Error::io(path)(error))
}

impl From<&GeneratedRow> for Row {
    fn from(row: &GeneratedRow) -> Self {
        Self {
            index: row.index,
            ids: row.ids.clone(),
            text: row.text.clone(),
            stopped_by: row.stopped_by,
            response_tokens_cut: row.response_tokens_cut,
            others: row.others.clone(),
        }
    }
}

impl From<Row> for GeneratedRow {
    fn from(row: Row) -> Self {
        Self {
            index: row.index,
            ids: row.ids,
            text: row.text,
            stopped_by: row.stopped_by,
            response_tokens_cut: row.response_tokens_cut,
            others: row.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(index: u32) -> GeneratedRow {
        let text = format!("text {index}\n");
        let others = vec![GeneratedText { ids: vec![index], text: String::new(), stopped_by: None }];
        GeneratedRow { index, ids: vec![index, 7], text, stopped_by: Some(2), response_tokens_cut: 1, others }
    }

    #[test]
    fn rows_survive_a_process_that_never_ended_and_a_line_that_was_cut_off_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.jsonl");
        let job = json!({ "seed": 1 });
        let mut partial = Partial::open(&target).unwrap();
        assert!(partial.begin(job.clone(), false).unwrap().is_empty());
        partial.push(&row(3)).unwrap();
        partial.push(&row(1)).unwrap();
        let path = partial.path.clone();
        drop(partial);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"index\":2,\"ids\":[");
        fs::write(&path, bytes).unwrap();

        let mut partial = Partial::open(&target).unwrap();
        assert_eq!(partial.begin(job.clone(), false).unwrap(), [row(3), row(1)]);
        partial.push(&row(2)).unwrap();
        drop(partial);
        let mut partial = Partial::open(&target).unwrap();
        assert_eq!(partial.begin(job, false).unwrap(), [row(3), row(1), row(2)]);
        partial.finish(&[]).unwrap();
        assert!(target.is_file() && !path.exists());
    }

    #[test]
    fn another_job_is_refused_by_what_differs_until_its_rows_may_go() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.jsonl");
        let mut partial = Partial::open(&target).unwrap();
        partial.begin(json!({ "seed": 1 }), false).unwrap();
        partial.push(&row(0)).unwrap();
        drop(partial);
        let mut partial = Partial::open(&target).unwrap();
        let error = partial.begin(json!({ "seed": 2 }), false).unwrap_err();
        assert_eq!(error.code, spec::ErrorCode::Conflict);
        assert!(error.message.contains("seed was 1 and is 2"), "{error}");
        assert!(partial.begin(json!({ "seed": 2 }), true).unwrap().is_empty());
    }

    #[test]
    fn an_output_that_cannot_be_written_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Partial::open(&folder.path().join("nowhere/x.jsonl")).err().unwrap();
        assert_eq!(missing.code, spec::ErrorCode::NotFound);
        assert!(Partial::open(folder.path()).is_err());
        drop(Partial::open(&folder.path().join("x.jsonl")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let foreign = folder.path().join("y.jsonl.partial");
        fs::write(&foreign, "mine").unwrap();
        assert!(Partial::open(&folder.path().join("y.jsonl")).is_err());
        assert_eq!(fs::read_to_string(foreign).unwrap(), "mine");
    }

    #[test]
    fn two_processes_never_write_one_output() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.jsonl");
        let _first = Partial::open(&target).unwrap();
        assert_eq!(Partial::open(&target).err().unwrap().code, spec::ErrorCode::Conflict);
    }

    #[test]
    fn each_field_that_differs_is_named_with_both_values() {
        let saved = json!({ "lora": { "rank": 16, "alpha": 32.0 }, "max_steps": null, "seed": 1, "old": true });
        let now = json!({ "lora": { "rank": 8, "alpha": 32.0 }, "max_steps": 4, "seed": 1, "new": [1] });
        assert_eq!(
            differences(&saved, &now),
            [
                "rank was 16 and is 8",
                "max_steps was none and is 4",
                "old was true and is none",
                "new was none and is [1]"
            ]
        );
        assert!(differences(&saved, &saved).is_empty());
    }
}
