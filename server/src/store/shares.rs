//! Frozen reports, and the links that open them. Of a link's token only the sha256 is kept.

use rusqlite::{OptionalExtension, params};
use spec::{Report, ShareLink};

use super::experiments::found;
use super::{Durable, Result, Store, StoreError, now_ms};

impl Store {
    pub fn keep_report(&self, run: i64, report: &Report) -> Result<()> {
        let report = serde_json::to_string(report)?;
        self.write(Durable::PowerCut, |transaction| {
            transaction
                .execute("INSERT OR REPLACE INTO reports (run, report) VALUES (?1, ?2)", params![run, report])?;
            Ok(())
        })
    }

    pub fn report(&self, run: i64) -> Result<Report> {
        let report: Option<String> = self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT report FROM reports WHERE run = ?1")?;
            Ok(statement.query_row([run], |row| row.get(0)).optional()?)
        })?;
        Ok(serde_json::from_str(&report.ok_or(StoreError::NotFound { what: "report of run", id: run })?)?)
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

    pub fn revoke_share(&self, share: i64) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            found(transaction.execute("UPDATE shares SET revoked = 1 WHERE id = ?1", [share])?, "share link", share)
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
