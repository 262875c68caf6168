//! What pages and headless verbs ask for, answered from the store, the queue and the resources.
//!
//! `Service` is the whole server without HTTP. Its core blocks; `Service::call` (`commands.rs`) runs commands on
//! blocking threads. Knows nothing of cookies, sockets or HTML.

mod cells;
mod commands;
mod compare;
mod curate;
pub(crate) mod examples;
mod export;
mod fingerprint;
mod plan;
pub mod presets;
mod rating;
mod replay;
mod runs;
mod shares;
mod stale;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::device::Device;
use spec::{AppError, CellConfig, IdempotencyKey, LoggedEvent, Preset, RunView};
use tokio::sync::broadcast;

use crate::jobs::{ComputeThread, Jobs, MakeExecutor, RunFolders};
use crate::resources::Resources;
use crate::settings::Settings;
use crate::store::{Key, Store};
use crate::work::{self, ModelCache, Session};

pub use crate::jobs::Notice;
pub use shares::{ReportOf, new_token, token_is_well_formed};

/// How long a run may take to save before the process ends without it.
const PATIENCE: Duration = Duration::from_secs(8);

pub struct Service {
    core: Arc<Core>,
}

/// The blocking inside of the service.
struct Core {
    store: Arc<Store>,
    jobs: Arc<Jobs>,
    folders: RunFolders,
    resources: Arc<Resources>,
    /// Commands that look first and then change take this, so that they see each other whole.
    commands: Mutex<()>,
    /// Held while pairs are replayed.
    replays: Mutex<()>,
    device: String,
    device_description: String,
    /// Held for as long as the process serves this data folder.
    _lock: File,
}

impl Service {
    /// Opens the data folder and the device, marks runs that were cut off, and starts the thread that computes.
    pub fn open(settings: Settings) -> Result<Arc<Self>, AppError> {
        let compute = ComputeThread::start()?;
        let device = Device::open(&settings.device).map_err(crate::adapter::error)?;
        let description = device.description();
        let spec = settings.device.clone();
        Self::open_on(compute, settings, description, |resources| {
            Box::new(move || {
                let mut session = Session { resources: Arc::clone(&resources), models: ModelCache::new(spec.clone()) };
                Box::new(move |context, emit| work::execute(&mut session, context, emit))
            })
        })
    }

    /// The same with another executor, and without a device.
    pub fn open_with(
        settings: Settings,
        device_description: String,
        executor: impl FnOnce(Arc<Resources>) -> MakeExecutor,
    ) -> Result<Arc<Self>, AppError> {
        Self::open_on(ComputeThread::start()?, settings, device_description, executor)
    }

    fn open_on(
        compute: ComputeThread,
        settings: Settings,
        device_description: String,
        executor: impl FnOnce(Arc<Resources>) -> MakeExecutor,
    ) -> Result<Arc<Self>, AppError> {
        let data = &settings.data;
        create_private(data).map_err(|error| unusable(data, &error.to_string()))?;
        let lock = lock(data)?;
        let folders = RunFolders::open(data)?;
        let store = Arc::new(open_store(&data.join("backtranslate.sqlite"), &folders)?);
        clean(&store, &folders)?;
        let resources = Arc::new(Resources::open(data)?);
        resources.sweep()?;
        let make = executor(Arc::clone(&resources));
        let jobs = Jobs::open(Arc::clone(&store), folders.clone(), settings.queue_limit, compute, make)?;
        if !store.ever_had_experiments()? {
            let key = Key { command: "first", key: "" };
            store.create_experiment(presets::QUICK_START_NAME, &presets::cells(Preset::QuickStart), key)?;
        }
        let core = Core {
            store,
            jobs,
            folders,
            resources,
            commands: Mutex::new(()),
            replays: Mutex::new(()),
            device: settings.device,
            device_description,
            _lock: lock,
        };
        Ok(Arc::new(Self { core: Arc::new(core) }))
    }

    /// Events of all runs, and word of changed experiments. A slow listener misses events and is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.core.jobs.subscribe()
    }

    pub fn resources(&self) -> &Arc<Resources> {
        &self.core.resources
    }

    /// A new experiment with these cells; its id. Blocks.
    pub fn create_from(&self, name: &str, cells: &[CellConfig]) -> Result<i64, AppError> {
        self.core.create_experiment(name, cells, &IdempotencyKey::default())
    }

    /// The run's folder, for those who may read the data folder.
    pub fn run_folder(&self, run: i64) -> std::path::PathBuf {
        self.core.folders.path(run)
    }

    /// The folded log of a run as it is now. Blocks.
    pub fn view(&self, run: i64) -> Result<RunView, AppError> {
        self.core.run_view(run)
    }

    /// At most `limit` events of a run after number `after`, in order. Blocks.
    pub fn events(&self, run: i64, after: u64, limit: u32) -> Result<Vec<LoggedEvent>, AppError> {
        Ok(self.core.store.events(run, after, limit)?)
    }

    /// Number of the last event in a run's log. Blocks.
    pub fn last_seq(&self, run: i64) -> Result<u64, AppError> {
        Ok(self.core.store.last_seq(run)?)
    }

    /// Stops and saves the running run, marks waiting ones as interrupted. Blocks, for at most some seconds.
    pub fn shutdown(&self) {
        self.core.jobs.shutdown(PATIENCE);
        self.core.store.close();
    }
}

impl Core {
    fn commands(&self) -> MutexGuard<'_, ()> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoke_share(&self, share: i64) -> Result<(), AppError> {
        let _commands = self.commands();
        self.folders.remove(&self.store.revoke_share(share)?);
        Ok(())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.jobs.close();
    }
}

/// Nobody else on the machine may look into a folder that is made here; one that is there already may hold other things.
fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A new database beside the folders of runs means that the old one was lost: its runs would be numbered from 1 again.
fn open_store(database: &Path, folders: &RunFolders) -> Result<Store, AppError> {
    if Store::is_new(database)? && !folders.runs().is_empty() {
        return Err(AppError::conflict(
            format!(
                "The database {} is missing or empty, but {} holds the artifacts of {} runs.",
                database.display(),
                folders.root().display(),
                folders.runs().len()
            ),
            format!(
                "Put the database back, with its -wal file if there is one. Or, to start empty, move {} elsewhere.",
                folders.root().display()
            ),
        ));
    }
    Ok(Store::open(database)?)
}

/// Removes what is left of deleted runs and killed processes. Folders of runs that the database does not know stay,
/// since it may be an older copy; new runs are numbered above them.
fn clean(store: &Store, folders: &RunFolders) -> Result<(), AppError> {
    let unknown: Vec<i64> = folders.runs().into_iter().filter(|run| !store.run_exists(*run).unwrap_or(true)).collect();
    let deleted = store.deleted_runs()?;
    let gone = folders.remove(&deleted);
    let unknown: Vec<i64> = unknown.into_iter().filter(|run| !deleted.contains(run)).collect();
    if let Some(last) = unknown.last() {
        tracing::warn!(runs = ?unknown, folder = %folders.root().display(), "the database does not know these runs; their folders stay as they are");
        store.number_runs_above(*last)?;
    }
    folders.sweep();
    // On a full disk the server starts all the same, so that experiments can be deleted.
    if let Err(error) = store.forget_deleted(&gone).and_then(|()| store.forget_old_keys()) {
        tracing::warn!(%error, "the database cannot be written to");
    }
    Ok(())
}

/// One server per data folder: two would interleave their writes.
fn lock(data: &Path) -> Result<File, AppError> {
    let path = data.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| unusable(&path, &error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AppError::conflict(
            format!("Another backtranslate process is using the data folder {}.", data.display()),
            "Stop it first, or choose another folder with --data.",
        )),
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error.to_string())),
    }
}

fn unusable(path: &Path, problem: &str) -> AppError {
    AppError::internal(
        format!("{} cannot be used: {problem}.", path.display()),
        "Choose a folder that this user may write to with --data.",
    )
}
