//! Run logs: append, and read after a number.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use spec::{LoggedEvent, RunEvent, RunView};

use super::{Durable, End, Result, Store, StoreError, format, pairs};

impl Store {
    /// Appends one event together with what follows from it: the run's state, or a finished pair. Returns the event as
    /// it will be read back. The last event of a run goes through [`Store::end`].
    pub fn append(&self, logged: &LoggedEvent) -> Result<LoggedEvent> {
        let (text, event) = format::write(&name(&logged.event), &logged.event)?;
        self.write(durable(&event), |transaction| {
            insert_text(transaction, logged.run, logged.seq, logged.at_ms, &text)?;
            match &event {
                RunEvent::State { state, .. } => {
                    transaction
                        .prepare_cached("UPDATE runs SET state = ?2, view = NULL WHERE id = ?1")?
                        .execute(params![logged.run, state.as_str()])?;
                    touch_of(transaction, logged.run, logged.at_ms)?;
                }
                RunEvent::Pair { pair } => pairs::insert(transaction, logged.run, pair)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(LoggedEvent { event, run: logged.run, seq: logged.seq, at_ms: logged.at_ms })
    }

    /// Appends the last event of a run, a `State`, and its folded log. Where it cannot be written now, it is kept in
    /// memory and counts as stored until the process ends.
    pub fn end(&self, logged: &LoggedEvent, view: &RunView) {
        let end = End { logged: logged.clone(), view: view.clone() };
        if let Err(error) = self.write(Durable::PowerCut, |transaction| insert_end(transaction, &end)) {
            tracing::error!(run = logged.run, %error, "the end of the run is not stored yet; it is tried again");
            self.unstored().insert(logged.run, end);
        }
    }

    /// Number of the last event; every run has at least one.
    pub fn last_seq(&self, run: i64) -> Result<u64> {
        if let Some(end) = self.unstored().get(&run) {
            return Ok(end.logged.seq);
        }
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT max(seq) FROM events WHERE run = ?1")?;
            let last: Option<i64> = statement.query_row([run], |row| row.get(0))?;
            last.map(i64::unsigned_abs).ok_or(StoreError::NotFound { what: "run", id: run })
        })
    }

    /// At most `limit` events after number `after`, in order. In place of one that cannot be read there is a phase
    /// that says so.
    pub fn events(&self, run: i64, after: u64, limit: u32) -> Result<Vec<LoggedEvent>> {
        Ok(self.read_events(run, after, limit)?.0)
    }

    /// With what is wrong with the first event that cannot be read, if any.
    pub(super) fn read_events(&self, run: i64, after: u64, limit: u32) -> Result<(Vec<LoggedEvent>, Option<String>)> {
        let unstored = self.unstored().get(&run).map(|end| end.logged.clone());
        let (mut events, problem) = self.read(|connection| stored_events(connection, run, after, limit))?;
        if let Some(last) = unstored.filter(|last| last.seq > after && events.len() < limit as usize)
            && events.last().is_none_or(|stored| stored.seq < last.seq)
        {
            events.push(last);
        }
        Ok((events, problem))
    }
}

fn stored_events(
    connection: &Connection,
    run: i64,
    after: u64,
    limit: u32,
) -> Result<(Vec<LoggedEvent>, Option<String>)> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, at_ms, event, format FROM events WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    // A number beyond what SQLite counts has nothing after it.
    let mut rows = statement.query(params![run, i64::try_from(after).unwrap_or(i64::MAX), limit])?;
    let (mut events, mut problem) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)?.unsigned_abs();
        let event = format::read(row.get(3)?, row.get_ref(2)?.as_str().unwrap_or_default());
        let event = event.unwrap_or_else(|what| {
            problem.get_or_insert_with(|| format!("event {seq}: {what}"));
            RunEvent::Phase { text: format!("event {seq} cannot be read: {what}") }
        });
        events.push(LoggedEvent { run, seq, at_ms: row.get(1)?, event });
    }
    Ok((events, problem))
}

/// For errors: which event of a log it is.
fn name(event: &RunEvent) -> String {
    match event {
        RunEvent::Step { step } => format!("step {}", step.step),
        RunEvent::Evaluation { step, .. } => format!("the evaluation after step {step}"),
        RunEvent::Pair { pair } => format!("the pair of row {}", pair.index),
        RunEvent::Output { .. } => "the run's output".to_owned(),
        _ => "an event of the run".to_owned(),
    }
}

pub(super) fn insert(transaction: &Transaction<'_>, logged: &LoggedEvent) -> Result<()> {
    let (text, _) = format::write(&name(&logged.event), &logged.event)?;
    insert_text(transaction, logged.run, logged.seq, logged.at_ms, &text)
}

fn insert_text(transaction: &Transaction<'_>, run: i64, seq: u64, at_ms: i64, event: &str) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO events (run, seq, at_ms, event, format) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![run, i64::try_from(seq).unwrap_or(i64::MAX), at_ms, event, format::RECORD])?;
    Ok(())
}

pub(super) fn insert_end(transaction: &Transaction<'_>, end: &End) -> Result<()> {
    let End { logged, view } = end;
    // A commit that was reported as failed may have been one that succeeded.
    let seq = i64::try_from(logged.seq).unwrap_or(i64::MAX);
    let stored = "SELECT EXISTS (SELECT 1 FROM events WHERE run = ?1 AND seq = ?2)";
    if !transaction.query_row(stored, [logged.run, seq], |row| row.get(0))? {
        insert(transaction, logged)?;
    }
    // The view can be folded again from the events, so the end does not depend on it.
    let folded = format::write("the folded log", view).ok().map(|(text, _)| text);
    transaction
        .prepare_cached("UPDATE runs SET state = ?2, view = ?3, view_format = ?4 WHERE id = ?1")?
        .execute(params![logged.run, view.state.as_str(), folded, format::VIEW])?;
    touch_of(transaction, logged.run, logged.at_ms)
}

fn touch_of(transaction: &Transaction<'_>, run: i64, at_ms: i64) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE experiments SET updated_ms = ?2 WHERE id = (SELECT experiment FROM runs WHERE id = ?1)",
        )?
        .execute(params![run, at_ms])?;
    Ok(())
}

/// The folded log as it was kept when the run ended, where this version folds in the same way.
pub(super) fn kept_view(connection: &Connection, run: i64) -> Result<Option<RunView>> {
    let mut statement = connection.prepare_cached("SELECT view, view_format FROM runs WHERE id = ?1")?;
    let kept = statement.query_row([run], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, i64>(1)?)));
    let Some((Some(view), format::VIEW)) = kept.optional()? else { return Ok(None) };
    Ok(serde_json::from_str(&view).ok())
}

/// What is shown as saved or finished waits for the disk; what only says how far things are does not.
fn durable(event: &RunEvent) -> Durable {
    match event {
        RunEvent::State { .. } | RunEvent::Checkpoint { .. } | RunEvent::Pair { .. } | RunEvent::Output { .. } => {
            Durable::PowerCut
        }
        RunEvent::Phase { .. }
        | RunEvent::Warning { .. }
        | RunEvent::Progress { .. }
        | RunEvent::Integrity { .. }
        | RunEvent::Step { .. }
        | RunEvent::Evaluation { .. }
        | RunEvent::Sample { .. }
        | RunEvent::Tokens { .. } => Durable::ProcessEnd,
    }
}
