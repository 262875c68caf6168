//! Frozen reports, and the links that open them. Of a link's token only the sha256 is kept.

use rusqlite::{OptionalExtension, params};
use spec::{KeptReport, Report, ShareLink};

use super::experiments::{delete_unshared, found};
use super::{Durable, Result, Store, StoreError, format, pairs};
use crate::clock::now_ms;

impl Store {
    /// Replaces an earlier one of the same run; its share links stay.
    pub fn keep_report(&self, run: i64, report: &Report) -> Result<()> {
        let (head, _) = format::write("the report", &Report { pairs: Vec::new(), ..report.clone() })?;
        self.write(Durable::PowerCut, |transaction| {
            // Replacing the row would delete its share links.
            let keep = "INSERT INTO reports (run, report, format) VALUES (?1, ?2, ?3)
                        ON CONFLICT (run) DO UPDATE SET report = excluded.report, format = excluded.format";
            transaction.execute(keep, params![run, head, format::RECORD])?;
            transaction.execute("DELETE FROM report_pairs WHERE run = ?1", [run])?;
            pairs::insert_of_report(transaction, run, &report.pairs)
        })
    }

    /// A report without its pairs.
    pub fn report(&self, run: i64) -> Result<Report> {
        self.read(|connection| {
            let stored: Option<(String, i64)> = connection
                .prepare_cached("SELECT report, format FROM reports WHERE run = ?1")?
                .query_row([run], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let (head, record) = stored.ok_or(StoreError::NotFound { what: "report of run", id: run })?;
            format::read(record, &head)
                .map_err(|problem| StoreError::Unreadable { what: format!("the report of run {run}"), problem })
        })
    }

    pub fn has_report(&self, run: i64) -> Result<bool> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM reports WHERE run = ?1)")?;
            Ok(statement.query_row([run], |row| row.get(0))?)
        })
    }

    /// Reports of deleted cells of the experiment: kept because somebody holds a link. Newest first.
    pub fn kept_reports(&self, experiment: i64) -> Result<Vec<KeptReport>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT runs.id, coalesce(reports.report ->> '$.config.title', ''), count(*) FROM runs
                 JOIN cells ON cells.id = runs.cell JOIN reports ON reports.run = runs.id
                 JOIN shares ON shares.run = runs.id AND NOT shares.revoked
                 WHERE runs.experiment = ?1 AND cells.deleted GROUP BY runs.id ORDER BY runs.id DESC",
            )?;
            let kept = statement.query_map([experiment], |row| {
                Ok(KeptReport { run: row.get(0)?, title: row.get(1)?, links: row.get(2)? })
            })?;
            Ok(kept.collect::<rusqlite::Result<_>>()?)
        })
    }

    pub fn add_share(&self, run: i64, token_sha256: &str) -> Result<ShareLink> {
        self.write(Durable::PowerCut, |transaction| {
            let created_ms = now_ms();
            transaction.execute(
                "INSERT INTO shares (run, token_sha256, created_ms) VALUES (?1, ?2, ?3)",
                params![run, token_sha256, created_ms],
            )?;
            Ok(ShareLink { id: transaction.last_insert_rowid(), created_ms, revoked: false, path: None })
        })
    }

    /// Newest first.
    pub fn shares(&self, run: i64) -> Result<Vec<ShareLink>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT id, created_ms, revoked FROM shares WHERE run = ?1 ORDER BY id DESC")?;
            let shares = statement.query_map([run], |row| {
                Ok(ShareLink { id: row.get(0)?, created_ms: row.get(1)?, revoked: row.get(2)?, path: None })
            })?;
            Ok(shares.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Where that was the last link to a report whose cell is deleted, the report goes too. Returns the ids of the
    /// runs that are gone.
    pub fn revoke_share(&self, share: i64) -> Result<Vec<i64>> {
        self.write(Durable::PowerCut, |transaction| {
            found(transaction.execute("UPDATE shares SET revoked = 1 WHERE id = ?1", [share])?, "share link", share)?;
            let cell =
                "SELECT cells.id FROM cells JOIN runs ON runs.cell = cells.id JOIN shares ON shares.run = runs.id
                        WHERE shares.id = ?1 AND cells.deleted";
            match transaction.query_row(cell, [share], |row| row.get(0)).optional()? {
                Some(cell) => delete_unshared(transaction, cell),
                None => Ok(Vec::new()),
            }
        })
    }

    /// The run whose report a token opens. None for unknown and for revoked tokens alike.
    pub fn shared_run(&self, token_sha256: &str) -> Result<Option<i64>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT run FROM shares WHERE token_sha256 = ?1 AND revoked = 0")?;
            Ok(statement.query_row([token_sha256], |row| row.get(0)).optional()?)
        })
    }
}
