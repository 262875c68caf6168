//! What a person decided on the pairs of generate runs: one record per pair that has any.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use spec::{Curation, CurationChange, CurationCounts, CurationPart, Decision, GeneratedPair, PairFilter};

use super::{Durable, Result, Store, StoreError, format};

impl Store {
    /// Applies all changes, or none. A pair that there is not is refused.
    pub fn curate(&self, run: i64, changes: &[CurationChange]) -> Result<CurationCounts> {
        self.write(Durable::PowerCut, |transaction| {
            for change in changes {
                change_one(transaction, run, change)?;
            }
            counts(transaction, run)
        })
    }

    /// Decides on all pairs that the filter shows; the changes that take it back.
    pub fn decide_matching(
        &self,
        run: i64,
        filter: &PairFilter,
        decision: Option<Decision>,
    ) -> Result<Vec<CurationChange>> {
        self.write(Durable::PowerCut, |transaction| {
            let positions = Self::positions_to_decide(transaction, run, filter, decision)?;
            let mut inverse = Vec::with_capacity(positions.len());
            for (index, before) in positions {
                change_one(transaction, run, &CurationChange { index, part: CurationPart::Decision(decision) })?;
                inverse.push(CurationChange { index, part: CurationPart::Decision(before) });
            }
            Ok(inverse)
        })
    }

    /// Takes over what was decided in the newest earlier run of the same cell, for pairs with the same response and
    /// the same generated instruction. Nothing where this run has decisions of its own.
    pub fn take_over_curation(&self, run: i64) -> Result<()> {
        self.write(Durable::PowerCut, |transaction| {
            transaction.execute(
                "INSERT INTO curation (run, row, curation, decision, edited, text, format)
                 SELECT new.run, new.row, curation, decision, edited, curation.text, curation.format
                 FROM pairs AS new JOIN pairs AS old USING (row) JOIN curation ON curation.run = old.run AND curation.row = old.row
                 WHERE new.run = ?1 AND json_valid(new.pair) AND json_valid(old.pair)
                   AND new.pair ->> '$.response' = old.pair ->> '$.response'
                   AND new.pair ->> '$.generated' = old.pair ->> '$.generated'
                   AND old.run = (SELECT max(curation.run) FROM curation JOIN runs ON runs.id = curation.run
                                  WHERE runs.cell = (SELECT cell FROM runs WHERE id = ?1) AND runs.id < ?1)
                   AND NOT EXISTS (SELECT 1 FROM curation WHERE run = ?1)",
                [run],
            )?;
            Ok(())
        })
    }

    /// Identifies the decisions and edits of a run; empty where there are none. Notes do not count.
    pub fn curation_sha256(&self, run: i64) -> Result<String> {
        self.read(|connection| {
            let query = "SELECT row, curation, format FROM curation WHERE run = ?1 ORDER BY row";
            let mut statement = connection.prepare_cached(query)?;
            let mut rows = statement.query([run])?;
            let mut digest = CurationDigest::default();
            while let Some(row) = rows.next()? {
                let stored = format::read(row.get(2)?, row.get_ref(1)?.as_str().unwrap_or_default());
                digest.add(row.get(0)?, stored.as_ref().ok());
            }
            Ok(digest.finish())
        })
    }
}

/// The sha256 of what was decided on pairs, in the order of their positions.
#[derive(Default)]
pub struct CurationDigest(Option<Sha256>);

impl CurationDigest {
    pub fn of(pairs: &[GeneratedPair]) -> String {
        let mut digest = Self::default();
        for pair in pairs {
            digest.add(pair.index, pair.curation.as_ref());
        }
        digest.finish()
    }

    fn add(&mut self, index: u32, curation: Option<&Curation>) {
        let Some(Curation { decision, instruction, .. }) = curation else { return };
        if decision.is_some() || instruction.is_some() {
            let line = serde_json::json!([index, decision, instruction]).to_string();
            self.0.get_or_insert_default().update(line + "\n");
        }
    }

    fn finish(self) -> String {
        self.0.map(|sha256| engine::artifact::hex(&sha256.finalize())).unwrap_or_default()
    }
}

/// Of a run's pairs.
pub(super) fn counts(connection: &Connection, run: i64) -> Result<CurationCounts> {
    let query = "SELECT (SELECT count(*) FROM pairs WHERE run = ?1), count(*) FILTER (WHERE decision = 'keep'),
                        count(*) FILTER (WHERE decision = 'drop'), count(*) FILTER (WHERE edited)
                 FROM curation WHERE run = ?1";
    let count = |row: &rusqlite::Row<'_>, column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
    Ok(connection.prepare_cached(query)?.query_row([run], |row| {
        Ok(CurationCounts { pairs: count(row, 0)?, keep: count(row, 1)?, drop: count(row, 2)?, edited: count(row, 3)? })
    })?)
}

pub(super) fn decision(stored: &str) -> Option<Decision> {
    Decision::ALL.iter().copied().find(|decision| decision.as_str() == stored)
}

/// Lower-cased, for searching.
pub(super) fn text(curation: &Curation) -> String {
    format!("\n{}\n{}", curation.instruction.as_deref().unwrap_or_default(), curation.note).to_lowercase()
}

fn change_one(transaction: &Transaction<'_>, run: i64, change: &CurationChange) -> Result<()> {
    let CurationChange { index, part } = change;
    let known = "SELECT EXISTS (SELECT 1 FROM pairs WHERE run = ?1 AND row = ?2)";
    if !transaction.prepare_cached(known)?.query_row(params![run, index], |row| row.get::<_, bool>(0))? {
        return Err(StoreError::NotFound { what: "pair with index", id: i64::from(*index) });
    }
    let stored: Option<(String, i64)> = transaction
        .prepare_cached("SELECT curation, format FROM curation WHERE run = ?1 AND row = ?2")?
        .query_row(params![run, index], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut curation: Curation = stored.and_then(|(text, record)| format::read(record, &text).ok()).unwrap_or_default();
    part.apply(&mut curation);
    if curation.is_empty() {
        transaction.prepare_cached("DELETE FROM curation WHERE run = ?1 AND row = ?2")?.execute(params![run, index])?;
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO curation (run, row, curation, decision, edited, text, format)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            run,
            index,
            format::write("the decision", &curation)?.0,
            curation.decision.map_or("", Decision::as_str),
            curation.instruction.is_some(),
            text(&curation),
            format::RECORD
        ])?;
    Ok(())
}
