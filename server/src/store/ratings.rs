//! People's grades of the texts of generate runs.

use rusqlite::params;
use spec::{Grades, RatedText, Rating, Value as _};

use super::{Durable, Result, Store};
use crate::clock::now_ms;

impl Store {
    /// Replaces the rater's earlier grades of the text.
    pub fn rate(&self, run: i64, rating: &Rating) -> Result<()> {
        let grades = serde_json::json!(rating.grades).to_string();
        self.write(Durable::PowerCut, |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO ratings (run, row, text, rater, grades, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![run, rating.index, rating.text.as_str(), rating.rater, grades, now_ms()],
            )?;
            Ok(())
        })
    }

    /// By position and rater. Grades of texts that a later version knows are passed over.
    pub fn ratings(&self, run: i64) -> Result<Vec<Rating>> {
        self.read(|connection| {
            let query = "SELECT row, text, rater, grades FROM ratings WHERE run = ?1 ORDER BY row, text, rater";
            let mut statement = connection.prepare_cached(query)?;
            let mut rows = statement.query([run])?;
            let mut ratings = Vec::new();
            while let Some(row) = rows.next()? {
                let text = RatedText::read(row.get_ref(1)?.as_str().unwrap_or_default());
                let grades: Option<Grades> = serde_json::from_str(row.get_ref(3)?.as_str().unwrap_or_default()).ok();
                if let Some((text, grades)) = text.zip(grades) {
                    ratings.push(Rating { index: row.get(0)?, text, rater: row.get(2)?, grades });
                }
            }
            Ok(ratings)
        })
    }
}
