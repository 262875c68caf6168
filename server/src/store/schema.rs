//! The tables, one migration per change; a migration that was released is never edited.

use rusqlite::{Connection, Transaction};
use rusqlite_migration::{M, Migrations};

use super::{Result, StoreError, pairs};

const FIRST: &str = "
CREATE TABLE experiments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE cells (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    experiment INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    config TEXT NOT NULL
) STRICT;
CREATE INDEX cells_by_experiment ON cells(experiment, position);

CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    experiment INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
    cell INTEGER NOT NULL REFERENCES cells(id) ON DELETE CASCADE,
    state TEXT NOT NULL,
    config TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    -- Hash of the file that the configuration names, where it names one.
    identity TEXT NOT NULL,
    -- JSON: kind, cell, run and fingerprint of each input when this run was asked for.
    inputs TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- The folded log, once the run is over; NULL while it is under way.
    view TEXT
) STRICT;
CREATE INDEX runs_by_cell ON runs(cell, id);
CREATE INDEX runs_by_state ON runs(state);

CREATE TABLE events (
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE pairs (
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    row INTEGER NOT NULL,
    pair TEXT NOT NULL,
    -- Lower-cased text of all parts, for searching.
    text TEXT NOT NULL,
    -- Failure tags, each between spaces; a single space where there is none.
    tags TEXT NOT NULL,
    rouge REAL,
    copied INTEGER NOT NULL,
    words INTEGER NOT NULL,
    PRIMARY KEY (run, row)
) STRICT;

CREATE TABLE reports (
    run INTEGER PRIMARY KEY REFERENCES runs(id) ON DELETE CASCADE,
    report TEXT NOT NULL
) STRICT;

CREATE TABLE shares (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES reports(run) ON DELETE CASCADE,
    token_sha256 TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX shares_by_run ON shares(run);

CREATE TABLE keys (
    command TEXT NOT NULL,
    key TEXT NOT NULL,
    result INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (command, key)
) STRICT, WITHOUT ROWID;
";

/// Formats of records; deleted runs, whose folders may still be there; cells that are deleted but for a shared report.
const SECOND: &str = "
ALTER TABLE cells ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
ALTER TABLE cells ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN view_format INTEGER NOT NULL DEFAULT 1;
ALTER TABLE events ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
ALTER TABLE pairs ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
ALTER TABLE reports ADD COLUMN format INTEGER NOT NULL DEFAULT 1;

CREATE TABLE deleted_runs (
    run INTEGER PRIMARY KEY
) STRICT;
";

/// Cells count their changes; the newest number under which each client changed each setting of a cell, so that a
/// request that is repeated or overtaken changes nothing.
const CELL_VERSIONS: &str = "
ALTER TABLE cells ADD COLUMN version INTEGER NOT NULL DEFAULT 0;

CREATE TABLE cell_changes (
    cell INTEGER NOT NULL REFERENCES cells(id) ON DELETE CASCADE,
    client TEXT NOT NULL,
    setting TEXT NOT NULL,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (cell, client, setting)
) STRICT, WITHOUT ROWID;
";

/// Pairs of reports by position, so that a page of them is read without the rest.
const REPORT_PAIRS: &str = "
CREATE TABLE report_pairs (
    run INTEGER NOT NULL REFERENCES reports(run) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    pair TEXT NOT NULL,
    format INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (run, position)
) STRICT;

INSERT INTO report_pairs (run, position, pair)
    SELECT reports.run, pair.key, pair.value
    FROM reports, json_each(CASE WHEN json_valid(report) THEN report ELSE '{}' END, '$.pairs') AS pair;
UPDATE reports SET report = json_set(report, '$.pairs', json('[]')) WHERE json_valid(report);
";

/// What a person decided on generated pairs; and what pairs of reports are filtered and sorted by.
const CURATION: &str = "
CREATE TABLE curation (
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    row INTEGER NOT NULL,
    curation TEXT NOT NULL,
    -- `keep`, `drop` or empty.
    decision TEXT NOT NULL,
    -- 1 with an edited instruction.
    edited INTEGER NOT NULL,
    -- Lower-cased text of edited instruction and note, for searching.
    text TEXT NOT NULL,
    format INTEGER NOT NULL,
    PRIMARY KEY (run, row)
) STRICT, WITHOUT ROWID;

ALTER TABLE report_pairs ADD COLUMN text TEXT NOT NULL DEFAULT '';
ALTER TABLE report_pairs ADD COLUMN tags TEXT NOT NULL DEFAULT ' ';
ALTER TABLE report_pairs ADD COLUMN rouge REAL;
ALTER TABLE report_pairs ADD COLUMN copied INTEGER NOT NULL DEFAULT 0;
ALTER TABLE report_pairs ADD COLUMN words INTEGER NOT NULL DEFAULT 0;
ALTER TABLE report_pairs ADD COLUMN decision TEXT NOT NULL DEFAULT '';
ALTER TABLE report_pairs ADD COLUMN edited INTEGER NOT NULL DEFAULT 0;
";

/// What a report's pairs are ranked by, apart from their texts: each view of a report reads it for all pairs.
const REPORT_RANKS: &str = "
CREATE INDEX report_ranks ON report_pairs (run, position, rouge, copied, tags, edited, decision);
";

/// People's grades of the texts of generate runs, given without knowing who wrote them.
const RATINGS: &str = "
CREATE TABLE ratings (
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    row INTEGER NOT NULL,
    -- Who wrote it: `generated`, `baseline` or `reference`.
    text TEXT NOT NULL,
    rater TEXT NOT NULL,
    -- From 1 to 5, as a JSON list in the order of the criteria; null where not graded.
    grades TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (run, row, text, rater)
) STRICT, WITHOUT ROWID;
";

fn migrations() -> Migrations<'static> {
    let curation =
        M::up_with_hook(CURATION, |transaction: &Transaction<'_>| Ok(pairs::fill_report_columns(transaction)?));
    Migrations::new(vec![
        M::up(FIRST),
        M::up(SECOND),
        M::up(CELL_VERSIONS),
        M::up(REPORT_PAIRS),
        curation,
        M::up(REPORT_RANKS),
        M::up(RATINGS),
    ])
}

pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    Ok(migrations().to_latest(connection)?)
}

/// Refuses a database of another version, for those who may not migrate it.
pub(super) fn check(connection: &Connection) -> Result<()> {
    match migrations().pending_migrations(connection)? {
        0 => Ok(()),
        pending => Err(StoreError::OtherVersion { is_older: pending > 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_well_formed() {
        migrations().validate().expect("every migration applies to an empty database");
    }

    #[test]
    fn reports_of_an_earlier_version_keep_their_pairs_in_order_and_to_the_digit() {
        let mut database = Connection::open_in_memory().unwrap();
        Migrations::new(vec![M::up(FIRST)]).to_latest(&mut database).unwrap();
        database
            .execute_batch(
                "INSERT INTO experiments (id, name, created_ms, updated_ms) VALUES (1, 'x', 0, 0);
                 INSERT INTO cells (id, experiment, position, kind, config) VALUES (1, 1, 0, 'report', '{}');
                 INSERT INTO runs (id, experiment, cell, state, config, fingerprint, identity, inputs, created_ms)
                 VALUES (1, 1, 1, 'done', '{}', '', '', '[]', 0), (2, 1, 1, 'done', '{}', '', '', '[]', 0);",
            )
            .unwrap();
        let pairs: Vec<String> =
            (0..12).map(|index| format!(r#"{{"index":{index},"rouge_l":0.30000000000000004}}"#)).collect();
        let report = format!(r#"{{"loss":7.577734031099261,"pairs":[{}],"title":"é"}}"#, pairs.join(","));
        for (run, text) in [(1, report.as_str()), (2, "{ damaged")] {
            database.execute("INSERT INTO reports (run, report) VALUES (?1, ?2)", (run, text)).unwrap();
        }
        migrate(&mut database).unwrap();
        let texts = |query: &str| -> Vec<String> {
            let mut statement = database.prepare(query).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.collect::<rusqlite::Result<_>>().unwrap()
        };
        assert_eq!(texts("SELECT pair FROM report_pairs WHERE run = 1 ORDER BY position"), pairs);
        let heads = texts("SELECT report FROM reports ORDER BY run");
        assert_eq!(heads, [r#"{"loss":7.577734031099261,"pairs":[],"title":"é"}"#, "{ damaged"]);
    }
}
