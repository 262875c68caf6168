//! A model's files from a hub that speaks Hugging Face's HTTP interface: which ones, in which revision, how large at most.
//!
//! Never asks for a pickle: where a model has no safetensors, it is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use engine::Control;
use serde::Deserialize;
use spec::AppError;
use ureq::Agent;

use super::download::{Hash, Remote, agent};
use super::{FetchProgress, Result, check, io_error};

const PUBLIC_HUB: &str = "https://huggingface.co";
const MOST_JSON_BYTES: u64 = 64 << 20;
const MOST_WEIGHT_BYTES: u64 = 64 << 30;
const MOST_SHARDS: usize = 256;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const OPTIONAL: [&str; 3] = ["generation_config.json", "tokenizer_config.json", "special_tokens_map.json"];
const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";

pub struct Hub {
    endpoint: String,
    authorization: Option<String>,
    agent: Agent,
}

/// What the hub says of a repository before any file is fetched.
#[derive(Default)]
struct Listing {
    commit: Option<String>,
    /// None: this hub has no listing, so names are tried.
    files: Option<BTreeMap<String, Entry>>,
}

#[derive(Clone, Default)]
struct Entry {
    size: Option<u64>,
    hash: Option<Hash>,
}

#[derive(Deserialize)]
struct ModelInfo {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Hub {
    /// `HF_ENDPOINT` (a mirror, or one's own) and `HF_TOKEN` (for private models), as other tools read them.
    pub fn from_environment() -> Self {
        let endpoint = std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.trim().is_empty());
        let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.trim().is_empty());
        Self::new(endpoint.as_deref().unwrap_or(PUBLIC_HUB), token)
    }

    pub fn new(endpoint: &str, token: Option<String>) -> Self {
        let authorization = token.map(|token| format!("Bearer {token}"));
        Self { endpoint: endpoint.trim().trim_end_matches('/').to_owned(), authorization, agent: agent() }
    }

    /// Fetches configuration, tokenizer and weights into `folder`; files that are there are whole and stay.
    pub(super) fn fetch(&self, id: &str, folder: &Path, control: &Control, progress: FetchProgress<'_>) -> Result<()> {
        let listing = self.list(id)?;
        let mut job = Job { hub: self, id, folder, control, revision: "main".to_owned(), listing, done: 0, total: 0 };
        if let Some(commit) = job.listing.commit.clone() {
            job.revision = commit;
        }
        job.total = job.listed_bytes();
        job.required(CONFIG, progress)?;
        // Before gigabytes are fetched: can this be computed at all?
        engine::model::inspect(&folder.join(CONFIG)).map_err(crate::adapter::error)?;
        job.required(TOKENIZER, progress)?;
        for name in OPTIONAL {
            job.optional(name, MOST_JSON_BYTES, progress)?;
        }
        job.weights(progress)
    }

    fn list(&self, id: &str) -> Result<Listing> {
        let url = format!("{}/api/models/{id}/revision/main?blobs=true", self.endpoint);
        let mut request = self.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(|error| {
            AppError::connection(
                format!("the hub {} cannot be reached: {error}", self.endpoint),
                "Check the network connection (and HF_ENDPOINT, if it is set), then try again.",
            )
        })?;
        match response.status().as_u16() {
            200 => {}
            status @ (401 | 403) => return Err(super::download::refused(&url, status)),
            // A plain mirror has files but no listing.
            _ => return Ok(Listing::default()),
        }
        let text = response.body_mut().with_config().limit(MOST_JSON_BYTES).read_to_string().map_err(|error| {
            AppError::connection(format!("{url}: the listing could not be read: {error}"), "Try again.")
        })?;
        let Ok(info) = serde_json::from_str::<ModelInfo>(&text) else { return Ok(Listing::default()) };
        let commit = info.sha.filter(|sha| Hash::parse(sha).is_some());
        let files = info.siblings.into_iter().map(|sibling| {
            let lfs_hash = sibling.lfs.as_ref().and_then(|lfs| lfs.sha256.as_deref()).and_then(Hash::parse);
            let is_lfs = sibling.lfs.is_some();
            let size = sibling.lfs.and_then(|lfs| lfs.size).or(sibling.size);
            // The blob id of an LFS file names its pointer, not its content.
            let blob_hash = sibling.blob_id.filter(|_| !is_lfs).as_deref().and_then(Hash::parse);
            (sibling.rfilename, Entry { size, hash: lfs_hash.or(blob_hash) })
        });
        let files: BTreeMap<_, _> = files.collect();
        Ok(Listing { commit, files: (!files.is_empty()).then_some(files) })
    }
}

/// One model being fetched.
struct Job<'a> {
    hub: &'a Hub,
    id: &'a str,
    folder: &'a Path,
    control: &'a Control,
    /// `main` until the first answer names the commit; then that, so that all files are of one revision.
    revision: String,
    listing: Listing,
    /// Bytes of finished files, and of all, as far as they are known.
    done: u64,
    total: u64,
}

impl Job<'_> {
    fn listed_bytes(&self) -> u64 {
        let Some(files) = &self.listing.files else { return 0 };
        let sharded = files.contains_key(INDEX);
        files
            .iter()
            .filter(|(name, _)| {
                let wanted = name.as_str() == CONFIG || name.as_str() == TOKENIZER || OPTIONAL.contains(&name.as_str());
                let weights = if sharded { name.as_str() == INDEX || is_shard(name) } else { name.as_str() == WEIGHTS };
                wanted || weights
            })
            .filter_map(|(_, entry)| entry.size)
            .sum()
    }

    fn required(&mut self, name: &str, progress: FetchProgress<'_>) -> Result<()> {
        self.required_within(name, MOST_JSON_BYTES, progress)
    }

    fn required_within(&mut self, name: &str, limit: u64, progress: FetchProgress<'_>) -> Result<()> {
        if self.optional(name, limit, progress)? {
            return Ok(());
        }
        Err(AppError::not_found(
            format!("{} has no {name}", self.id),
            "Check the model's id; only models with config.json, tokenizer.json and safetensors can be fetched.",
        ))
    }

    /// False where the repository has no such file.
    fn optional(&mut self, name: &str, limit: u64, progress: FetchProgress<'_>) -> Result<bool> {
        check(self.control)?;
        let entry = match &self.listing.files {
            Some(files) => match files.get(name) {
                Some(entry) => entry.clone(),
                None => return Ok(false),
            },
            None => Entry::default(),
        };
        let target = self.folder.join(name);
        if !target.is_file() {
            let url = format!("{}/{}/resolve/{}/{name}", self.hub.endpoint, self.id, self.revision);
            let remote = Remote {
                agent: &self.hub.agent,
                url: &url,
                authorization: self.hub.authorization.as_deref(),
                hash: entry.hash,
                size: entry.size,
                limit,
            };
            let (before, all) = (self.done, self.total);
            let fetched = remote.download(&target, self.control, &mut |done, total| {
                progress(before + done, all.max(before + total));
            });
            match fetched {
                Ok(fetched) => self.pin(fetched.commit),
                Err(error) if error.code == spec::ErrorCode::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.done += fs::metadata(&target).map_err(io_error(&target))?.len();
        Ok(true)
    }

    fn pin(&mut self, commit: Option<String>) {
        if self.revision == "main"
            && let Some(commit) = commit.filter(|commit| Hash::parse(commit).is_some())
        {
            self.revision = commit;
        }
    }

    fn weights(&mut self, progress: FetchProgress<'_>) -> Result<()> {
        if self.optional(INDEX, MOST_JSON_BYTES, progress)? {
            for shard in self.shards()? {
                self.required_within(&shard, MOST_WEIGHT_BYTES, progress)?;
            }
            return Ok(());
        }
        if self.optional(WEIGHTS, MOST_WEIGHT_BYTES, progress)? {
            return Ok(());
        }
        Err(AppError::unsupported(
            format!(
                "{} has no safetensors weights; pickled weights (.bin, .pt) are never fetched, since reading one can run code",
                self.id
            ),
            "Choose a model with model.safetensors, or convert it by hand on a machine that you can spare.",
        ))
    }

    fn shards(&self) -> Result<Vec<String>> {
        let path = self.folder.join(INDEX);
        let malformed = |problem: String| crate::adapter::error(engine::Error::malformed(&path, "weight_map", problem));
        let text = fs::read_to_string(&path).map_err(io_error(&path))?;
        let index: Index = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let mut shards: Vec<String> = index.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        if shards.is_empty() || shards.len() > MOST_SHARDS {
            return Err(malformed(format!("it names {} files; 1 to {MOST_SHARDS} are expected", shards.len())));
        }
        match shards.iter().find(|name| !is_shard(name)) {
            Some(name) => Err(malformed(format!("{name:?} is not the name of a safetensors file in this folder"))),
            None => Ok(shards),
        }
    }
}

/// A safetensors file beside the index, and nowhere else.
fn is_shard(name: &str) -> bool {
    name.ends_with(".safetensors")
        && name.len() <= 128
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
