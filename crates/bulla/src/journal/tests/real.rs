//! The journal on the real disk: what it refuses, and many threads at once.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::Journal;
use super::*;
use crate::file::open_sealed;

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn put(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    set_mode(path, 0o600);
}

fn change(path: &Path, content: &str) -> Result<Recovered, Error> {
    Journal::at(path)?
        .change(|_, new| write(new, content), |written, ()| verify(written, content))
        .map(|changed| changed.recovered)
}

fn refused<T>(result: Result<T, Error>) -> String {
    match result.map(drop) {
        Err(error @ Error::UnsafeFile { .. }) => error.to_string(),
        other => panic!("not refused as unsafe: {other:?}"),
    }
}

/// Every operation on the sealed file is refused, for this reason, and the directory stays as it is.
fn assert_refused(path: &Path, why: &str) {
    let before = names(path.parent().unwrap());
    let journal = || Journal::at(path).unwrap();
    for refusal in [
        refused(open_sealed(path, u64::MAX)),
        refused(change(path, "new")),
        refused(journal().recover()),
        refused(journal().retire()),
    ] {
        assert!(refusal.contains(why), "{refusal}");
    }
    let after = names(path.parent().unwrap());
    assert!(after.iter().all(|name| before.contains(name) || name == LOCK), "{after:?}");
}

/// R70, B33: whatever is not plainly a file of our own is neither read nor replaced.
#[test]
fn an_unsafe_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let other = directory.path().join("other");
    put(&other, "somebody else's");

    symlink(&other, &path).unwrap();
    assert_refused(&path, "symbolic link");
    fs::remove_file(&path).unwrap();
    symlink("nothing", &path).unwrap();
    assert_refused(&path, "symbolic link");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    assert_refused(&path, "directory");
    fs::remove_dir(&path).unwrap();

    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_refused(&path, "a device, a pipe or a socket");
    fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_refused(&path, "a device, a pipe or a socket");
    fs::remove_file(&path).unwrap();
    assert!(refused(open_sealed(Path::new("/dev/null"), u64::MAX)).contains("a device"));

    put(&path, "old");
    for mode in [0o666, 0o660, 0o602, 0o620, 0o777] {
        set_mode(&path, mode);
        assert_refused(&path, "can be written by other users");
    }
    set_mode(&path, 0o600);

    fs::remove_file(&path).unwrap();
    fs::hard_link(&other, &path).unwrap();
    assert_refused(&path, "hard link");
    // Not even if the other name is one where we keep a generation, and there is a third.
    fs::hard_link(&other, directory.path().join(kept(1))).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 3);
    assert_refused(&path, "hard link");

    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody else's");
}

/// R70, B33: so is a file of another user. Who is not the superuser cannot make one, but has many.
#[test]
fn a_file_of_another_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    put(&path, "old");
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(12345), None).unwrap();
        assert_refused(&path, "belongs to another user");
    } else {
        assert!(refused(open_sealed(Path::new("/etc/passwd"), u64::MAX)).contains("belongs to another user"));
    }
}

/// R71: a file that is too large is refused before it is read.
#[test]
fn a_file_that_is_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    put(&path, "12345");
    open_sealed(&path, 5).unwrap();
    assert!(refused(open_sealed(&path, 4)).contains("larger"));
    let journal = Journal::at(&path).unwrap().largest(4);
    assert!(refused(journal.change(|_, new| write(new, "new"), |_, ()| Ok(()))).contains("larger"));
}

/// R70, B33: the lock and the kept generations are looked at with the same eyes.
#[test]
fn unsafe_files_beside_it_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let beside = |name: &str| directory.path().join(name);
    put(&beside("other"), "somebody else's");
    put(&path, "old");

    symlink(beside("other"), beside(LOCK)).unwrap();
    assert!(refused(change(&path, "new")).contains(LOCK));
    fs::remove_file(beside(LOCK)).unwrap();
    fs::hard_link(beside("other"), beside(LOCK)).unwrap();
    assert!(refused(change(&path, "new")).contains(LOCK));
    fs::remove_file(beside(LOCK)).unwrap();
    mknodat(CWD, beside(LOCK), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert!(refused(change(&path, "new")).contains(LOCK));
    fs::remove_file(beside(LOCK)).unwrap();

    // A link in place of the temporary file is removed, and not written through.
    symlink(beside("other"), beside(NEW)).unwrap();
    assert!(change(&path, "new").unwrap().undone);
    assert_eq!(fs::read_to_string(beside("other")).unwrap(), "somebody else's");

    // The sealed file is not restored from a link.
    fs::remove_file(&path).unwrap();
    fs::remove_file(beside(&kept(1))).unwrap();
    symlink(beside("other"), beside(&kept(1))).unwrap();
    assert!(refused(change(&path, "newer")).contains(&kept(1)));
    fs::remove_file(beside(&kept(1))).unwrap();
    fs::hard_link(beside("other"), beside(&kept(1))).unwrap();
    assert!(refused(change(&path, "newer")).contains(&kept(1)));
    assert!(!path.exists());
}

/// R70, B33: while another thread swaps the file for one that is unsafe and back, opening gives the safe one or an error.
/// (Not with a hard link to a file of our own: once that is unlinked here it is a file of our own with a single name.)
#[test]
fn swapping_during_the_opening_does_not_help() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let evil = directory.path().join("evil");
    put(&path, "good");
    put(&evil, "evil");
    let swaps = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            let staged = directory.path().join("staged");
            let stage: [fn(&Path, &Path); 3] = [
                |staged, evil| symlink(evil, staged).unwrap(),
                |staged, _| mknodat(CWD, staged, FileType::Fifo, Mode::RUSR, 0).unwrap(),
                |staged, _| {
                    fs::write(staged, "evil").unwrap();
                    set_mode(staged, 0o666);
                },
            ];
            for round in 0..3_000 {
                stage[round % stage.len()](&staged, &evil);
                fs::rename(&staged, &path).unwrap();
                put(&staged, "good");
                fs::rename(&staged, &path).unwrap();
            }
            swaps.store(false, Ordering::Release);
        });
        while swaps.load(Ordering::Acquire) {
            match open_sealed(&path, u64::MAX) {
                Ok(mut file) => assert_eq!(read(&mut file).unwrap(), "good"),
                Err(error) => assert_eq!(error.code(), "file.unsafe", "{error}"),
            }
        }
    });
}

/// R95: a sealed file that is gone is told from one that never was.
#[test]
fn a_missing_file_is_told_from_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let journal = Journal::at(&path).unwrap();
    for error in [
        open_sealed(&path, 9).unwrap_err(),
        change(&path, "new").unwrap_err(),
        journal.recover().unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound),
            "{error}"
        );
    }
    assert!(names(directory.path()).is_empty());

    journal.create(|new| write(new, "first"), |_, ()| Ok::<_, Error>(())).unwrap();
    fs::remove_file(&path).unwrap();
    for error in [
        open_sealed(&path, 9).unwrap_err(),
        change(&path, "new").unwrap_err(),
        journal.recover().unwrap_err(),
        journal.create(|_| Ok::<_, Error>(()), |_, ()| Ok(())).unwrap_err(),
    ] {
        assert_eq!(error.code(), "seal.missing");
        assert_eq!(error.class(), bulla_crypto::Class::Refused);
        assert!(error.to_string().contains(LOCK), "{error}");
    }
    assert_eq!(names(directory.path()), BTreeSet::from([LOCK.to_owned()]));
}

/// R70: the directory is the one that was there when the journal was made, whatever its path leads to later.
#[test]
fn the_directory_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let [state, moved] = ["state", "moved"].map(|name| directory.path().join(name));
    fs::create_dir(&state).unwrap();
    put(&state.join(FILE), "old");
    let journal = Journal::at(&state.join(FILE)).unwrap();
    fs::rename(&state, &moved).unwrap();
    fs::create_dir(&state).unwrap();
    journal.change(|_, new| write(new, "new"), |written, ()| verify(written, "new")).unwrap();
    assert_eq!(fs::read_to_string(moved.join(FILE)).unwrap(), "new");
    assert_eq!(names(&state), BTreeSet::new());
}

/// R72: threads wait for one another, and none of their changes is lost; R67: who reads meanwhile sees a whole content.
#[test]
fn threads_take_turns() {
    const THREADS: usize = 4;
    const CHANGES: usize = 15;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let whole = |number: usize| format!("{number}:{}", "x".repeat(number));
    put(&path, &whole(0));
    let going = AtomicBool::new(true);
    let number_in = |file: &mut File| {
        let text = read(file)?;
        let number: usize = text.split_once(':').unwrap().0.parse().unwrap();
        assert_eq!(text, whole(number));
        Ok::<_, Error>(number)
    };
    thread::scope(|scope| {
        let changing: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..CHANGES {
                        let journal = Journal::at(&path).unwrap();
                        let next = |old: &mut File, new: &mut File| {
                            let number = number_in(old)? + 1;
                            write(new, &whole(number)).map(|()| number)
                        };
                        journal.change(next, |written, number| verify(written, &whole(*number))).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut last = 0;
            while going.load(Ordering::Acquire) {
                let number = number_in(&mut open_sealed(&path, u64::MAX).unwrap()).unwrap();
                assert!(number >= last);
                last = number;
            }
        });
        for thread in changing {
            thread.join().unwrap();
        }
        going.store(false, Ordering::Release);
    });
    assert_eq!(fs::read_to_string(&path).unwrap(), whole(THREADS * CHANGES));
    assert_eq!(names(directory.path()), BTreeSet::from([FILE.to_owned(), LOCK.to_owned(), kept(1)]));
}

/// R84: no word of the documentation promises erasure, and it says so.
#[test]
fn the_documentation_claims_no_erasure() {
    let source =
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/journal.rs")).unwrap();
    assert!(source.contains("**not erasure**"));
    for line in source.lines().filter(|line| line.contains("eras")) {
        assert!(line.contains("not erasure") || line.contains("erases nothing"), "{line}");
    }
}
