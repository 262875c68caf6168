//! Reports and share links: a link is 256 random bits, of which the store keeps a hash.

use spec::{AppError, CellKind, Report, ShareLink};

use super::Core;
use crate::store::RunRow;

/// Of a token, which is written in hexadecimal.
const TOKEN_BYTES: usize = 32;

impl Core {
    pub(super) fn report(&self, run: i64) -> Result<Report, AppError> {
        let row = self.store.run(run)?;
        if row.config.kind() != CellKind::Report {
            return Err(AppError::not_found(
                format!("Run {run} is not one of a report cell."),
                "Open the report from its cell.",
            ));
        }
        self.stored_report(&row)
    }

    /// A report whose steps were thinned by an older version gets its curve from the training's log, while that is here.
    fn stored_report(&self, row: &RunRow) -> Result<Report, AppError> {
        let mut report = self.store.report(row.id)?;
        let train = row.inputs.iter().find(|input| input.kind == CellKind::Train);
        if let (true, Some(train)) = (report.curve.is_empty(), train)
            && let Ok(train) = self.store.run(train.run)
        {
            report.curve = self.view_of(&train)?.curve.frozen();
        }
        Ok(report)
    }

    pub(super) fn share(&self, run: i64) -> Result<ShareLink, AppError> {
        self.report(run)?;
        let token = new_token()?;
        let mut link = self.store.add_share(run, &hash(&token))?;
        link.path = Some(format!("/r/{token}"));
        Ok(link)
    }

    pub(super) fn shared_run(&self, token: &str) -> Result<Option<i64>, AppError> {
        if !token_is_well_formed(token) {
            return Ok(None);
        }
        Ok(self.store.shared_run(&hash(token))?)
    }

    pub(super) fn shared_report(&self, token: &str) -> Result<Report, AppError> {
        match self.shared_run(token)? {
            Some(run) => self.stored_report(&self.store.run(run)?),
            None => Err(unknown_link()),
        }
    }
}

/// The same for unknown, malformed and revoked tokens, so that an answer tells nothing.
fn unknown_link() -> AppError {
    AppError::not_found("This link does not open a report.", "Ask whoever sent it for a new one.")
}

/// Has the form of a share link's token; anything else need not be looked up.
pub fn token_is_well_formed(token: &str) -> bool {
    token.len() == 2 * TOKEN_BYTES && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// 256 bits from the system's generator, in hexadecimal.
pub fn new_token() -> Result<String, AppError> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        AppError::internal(format!("The system gives no random numbers: {error}."), "Restart the machine.")
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(token: &str) -> String {
    engine::artifact::sha256(token.as_bytes())
}
