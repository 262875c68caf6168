//! The access token, and the session cookie that it is exchanged for.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use axum::http::{HeaderMap, header};
use spec::AppError;
use subtle::ConstantTimeEq;

use crate::service::{new_token, token_is_well_formed};

const COOKIE_DAYS: u32 = 30;

pub struct Access {
    /// None: no token is needed.
    token: Option<String>,
    /// What the cookie holds: derived from the token, so that the cookie does not give the token away.
    session: String,
    /// Its name holds the port, since browsers share cookies between all ports of a host.
    cookie: String,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    Owner,
    /// Without the cookie: sees how to sign in, and shared reports.
    Guest,
}

impl Access {
    /// The token is kept in the data folder, readable by its owner only, so that it stays the same over restarts.
    pub fn open(data: &Path, port: u16, no_auth: bool) -> Result<Self, AppError> {
        let cookie = format!("backtranslate_{port}");
        if no_auth {
            return Ok(Self { token: None, session: String::new(), cookie });
        }
        let token = read_or_create_token(&data.join("token"))?;
        let session = engine::artifact::sha256(format!("backtranslate session {token}").as_bytes());
        Ok(Self { token: Some(token), session, cookie })
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub fn admits_token(&self, given: &str) -> bool {
        self.token.as_deref().is_some_and(|token| equal(token, given))
    }

    pub fn session(&self, headers: &HeaderMap) -> Session {
        if self.token.is_none() {
            return Session::Owner;
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut values = cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(name, _)| *name == self.cookie);
        if values.any(|(_, value)| equal(&self.session, value)) { Session::Owner } else { Session::Guest }
    }

    /// `Lax`, not `Strict`: a browser does not send a strict cookie when the link is followed from another site, a mail
    /// or a chat. Requests that change anything need this server's own `Origin` beside it.
    pub fn set_cookie(&self) -> String {
        let seconds = COOKIE_DAYS * 24 * 60 * 60;
        format!("{}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}", self.cookie, self.session)
    }
}

/// In a time that does not depend on where they differ.
fn equal(secret: &str, given: &str) -> bool {
    secret.as_bytes().ct_eq(given.as_bytes()).into()
}

fn read_or_create_token(path: &Path) -> Result<String, AppError> {
    let mut kept = String::new();
    if let Ok(file) = File::open(path) {
        // No more than a token can have: a wrong file is not read whole.
        let _ = file.take(256).read_to_string(&mut kept);
    }
    let unwritable = |error: std::io::Error| {
        AppError::internal(
            format!("The token cannot be stored in {}: {error}.", path.display()),
            "Check that the data folder is writable.",
        )
    };
    if token_is_well_formed(kept.trim()) {
        restrict(path).map_err(unwritable)?;
        return Ok(kept.trim().to_owned());
    }
    let token = new_token()?;
    write_private(path, &token).map_err(unwritable)?;
    Ok(token)
}

/// Never readable by others, not even for a moment.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn restrict(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_token_is_private_and_stays_the_same() {
        let data = tempfile::tempdir().unwrap();
        let first = Access::open(data.path(), 3000, false).unwrap();
        let second = Access::open(data.path(), 3000, false).unwrap();
        assert_eq!(first.token(), second.token());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(data.path().join("token")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn only_the_whole_cookie_of_this_port_lets_in() {
        let data = tempfile::tempdir().unwrap();
        let access = Access::open(data.path(), 3000, false).unwrap();
        let cookie = access.set_cookie().split(';').next().unwrap().to_owned();
        assert_eq!(access.session(&cookies(&format!("a=b; {cookie}; c=d"))), Session::Owner);
        let (name, value) = cookie.split_once('=').unwrap();
        for wrong in [
            format!("{name}={}", &value[1..]),
            format!("{name}="),
            format!("backtranslate_3001={value}"),
            format!("{name}={}", access.token().unwrap()),
            String::from("nonsense"),
        ] {
            assert_eq!(access.session(&cookies(&wrong)), Session::Guest, "{wrong}");
        }
        assert_eq!(access.session(&HeaderMap::new()), Session::Guest);
    }

    #[test]
    fn a_damaged_token_file_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("token"), "short").unwrap();
        let access = Access::open(data.path(), 3000, false).unwrap();
        assert!(token_is_well_formed(access.token().unwrap()));
        assert!(!access.admits_token("short") && !access.admits_token(""));
    }
}
