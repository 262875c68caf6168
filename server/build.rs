//! Says where the built page lies, which is embedded in the program: `SITE_DIR`, or `site` in cargo's target folder.
//! Without a page the program compiles too, and says so when it is to serve one.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=SITE_DIR");
    let site = std::env::var_os("SITE_DIR").map(PathBuf::from).or_else(in_target);
    let site = site.unwrap_or_else(|| PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("site"));
    // Cargo looks at an absent folder again with every build, so it is made.
    if std::fs::create_dir_all(&site).is_ok() {
        println!("cargo::rerun-if-changed={}", site.display());
    }
    println!("cargo::rustc-env=SITE_DIR={}", site.display());
}

/// `OUT_DIR` is `TARGET/[TRIPLE/]PROFILE/build/PACKAGE/out`; cargo marks the target folder.
fn in_target() -> Option<PathBuf> {
    let out = std::env::var_os("OUT_DIR")?;
    let target = Path::new(&out).ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file())?;
    Some(target.join("site"))
}
