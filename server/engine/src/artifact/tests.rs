use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_written_file_holds_its_bytes_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write(&path, b"one").unwrap();
    write(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn a_write_that_fails_leaves_the_old_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write(&path, b"old").unwrap();
    let error = write_with(&path, |writer| {
        writer.write_all(b"half")?;
        Err(std::io::Error::other("no"))
    });
    assert!(error.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn a_folder_appears_whole_with_a_manifest_that_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-1");
    for text in ["first", "second"] {
        write_folder(&path, |inside| {
            write(&inside.join("config.json"), text.as_bytes())?;
            fs::create_dir(inside.join("more")).map_err(Error::io(inside))?;
            write(&inside.join("more/weights"), &[7; 10])
        })
        .unwrap();
    }
    assert_eq!(names(folder.path()), ["step-1"]);
    assert_eq!(fs::read(path.join("config.json")).unwrap(), b"second");
    let manifest = fs::read(path.join(MANIFEST)).unwrap();
    assert_eq!(verify_folder(&path).unwrap(), sha256(&manifest));
    let entries: BTreeMap<String, Entry> = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["config.json", "more/weights"]);
    assert_eq!(entries["more/weights"].size_bytes, 10);
}

#[test]
fn a_folder_whose_filling_fails_never_appears() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-1");
    let failed = write_folder(&path, |inside| {
        write(&inside.join("config.json"), b"{}")?;
        Err(Error::Stopped)
    });
    assert!(matches!(failed, Err(Error::Stopped)));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_flipped_bit_a_lost_file_and_a_cut_file_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter");
    let fresh = || write_folder(&path, |inside| write(&inside.join("weights"), b"12345678")).unwrap();
    fresh();
    fs::write(path.join("weights"), b"12345679").unwrap();
    assert!(matches!(verify_folder(&path), Err(Error::Corrupt { .. })));
    fs::write(path.join("weights"), b"1234").unwrap();
    assert_eq!(verify_folder(&path).unwrap_err().code(), ErrorCode::Corrupt);
    fs::remove_file(path.join("weights")).unwrap();
    assert_eq!(verify_folder(&path).unwrap_err().code(), ErrorCode::Corrupt);
    fresh();
    verify_folder(&path).unwrap();
}

#[test]
fn a_manifest_that_points_outside_its_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../secret", "/etc/passwd", ""] {
        let manifest = serde_json::json!({ name: { "size_bytes": 0, "sha256": "" } });
        fs::write(folder.path().join(MANIFEST), manifest.to_string()).unwrap();
        assert_eq!(verify_folder(folder.path()).unwrap_err().code(), ErrorCode::Corrupt, "{name:?}");
    }
}

#[test]
fn a_manifest_with_any_flipped_bit_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter");
    write_folder(&path, |inside| write(&inside.join("weights"), b"12345678")).unwrap();
    let manifest = fs::read(path.join(MANIFEST)).unwrap();
    for place in 0..manifest.len() {
        let mut flipped = manifest.clone();
        flipped[place] ^= 1;
        fs::write(path.join(MANIFEST), &flipped).unwrap();
        match verify_folder(&path) {
            Err(error) => assert_eq!(error.code(), ErrorCode::Corrupt, "byte {place}: {error}"),
            // White space that is another kind of white space, or the case of a hexadecimal digit is no change of meaning.
            Ok(sha256) => assert_ne!(sha256, super::sha256(&manifest), "byte {place}"),
        }
    }
    fs::remove_file(path.join(MANIFEST)).unwrap();
    assert_eq!(verify_folder(&path).unwrap_err().code(), ErrorCode::NotFound, "no manifest: no artifact");
}

#[test]
fn a_created_folder_may_exist_and_is_renamed_and_removed_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoints");
    create_folder(&path).unwrap();
    fs::write(path.join("a"), b"1").unwrap();
    create_folder(&path).unwrap();
    assert_eq!(names(&path), ["a"]);
    let other = folder.path().join("damaged");
    create_folder(&other).unwrap();
    rename_folder(&path, &other).unwrap();
    assert_eq!((names(folder.path()), names(&other)), (vec!["damaged".to_owned()], vec!["a".to_owned()]));
    remove_folder(&other).unwrap();
    assert!(names(folder.path()).is_empty());
}

#[test]
fn sweeping_removes_temporaries_and_puts_a_half_replaced_folder_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at(".writing-1-0-a.txt"), b"half").unwrap();
    fs::create_dir(at(".writing-1-1-step-2")).unwrap();
    fs::create_dir(at(".replaced-step-1")).unwrap();
    fs::create_dir(at(".replaced-step-0")).unwrap();
    fs::create_dir(at("step-0")).unwrap();
    fs::write(at("kept.txt"), b"").unwrap();
    assert_eq!(sweep(folder.path()).unwrap(), 4);
    assert_eq!(names(folder.path()), ["kept.txt", "step-0", "step-1"]);
    assert_eq!(sweep(&at("absent")).unwrap(), 0);
}

#[test]
fn sweeping_reaches_every_folder_below_and_follows_no_links() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("runs/7/checkpoints/step-1")).unwrap();
    for left in ["files/.tmp-x", "runs/7/.writing-1-0-pairs.jsonl", "runs/7/checkpoints/.writing-1-1-step-2"] {
        fs::create_dir_all(at(left).parent().unwrap()).unwrap();
        fs::write(at(left), b"half").unwrap();
    }
    fs::create_dir(at("runs/7/.replaced-adapter")).unwrap();
    fs::write(elsewhere.path().join(".tmp-y"), b"another's").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(elsewhere.path(), at("link")).unwrap();
    assert_eq!(sweep(folder.path()).unwrap(), 4);
    assert_eq!(names(&at("files")), [""; 0]);
    assert_eq!(names(&at("runs/7")), ["adapter", "checkpoints"]);
    assert_eq!(names(&at("runs/7/checkpoints")), ["step-1"]);
    assert_eq!(names(elsewhere.path()), [".tmp-y"]);
    assert_eq!(sweep(folder.path()).unwrap(), 0);
}

#[test]
fn a_changed_letter_is_found_by_the_hash_that_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.jsonl");
    write(&path, b"one").unwrap();
    verify_file(&path, &sha256(b"one")).unwrap();
    fs::write(&path, b"One").unwrap();
    let error = verify_file(&path, &sha256(b"one")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Corrupt);
    assert!(error.to_string().contains("train.jsonl"), "{error}");
}

#[test]
fn a_git_lfs_pointer_in_an_artifact_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter");
    write_folder(&path, |inside| write(&inside.join("weights"), &[7; 1000])).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1000\n";
    fs::write(path.join("weights"), pointer).unwrap();
    assert!(verify_folder(&path).unwrap_err().to_string().contains("Git LFS pointer"));
}

#[test]
fn sha256_gives_the_known_answer() {
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(b"abc"), known);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    fs::write(&path, b"abc").unwrap();
    assert_eq!(sha256_file(&path).unwrap(), known);
}
