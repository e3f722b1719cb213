use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bulla::{Error, file};

use crate::machine::here;

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// R67: a new file, readable by its owner alone, and nothing beside it.
#[test]
fn a_file_is_made_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    for secret in [&b"first"[..], b"second"] {
        let mut sealed = Vec::new();
        bulla::seal_stream(&here(), "test", secret, &mut sealed).unwrap();
        let unseal =
            |file: &mut File| bulla::unseal_stream(&here(), "test", sealed.as_slice(), file).map(|_| ());
        file::replace(&path, unseal).unwrap();
        assert_eq!(fs::read(&path).unwrap(), secret);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["out"]);
    }
}

/// R67, R68, R59: while the new content is written the old one is there, and after a failure nothing else is.
#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let mut sealed = bulla::seal(&here(), "test", &vec![1; 200_000]).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let attempt = || {
        file::replace(&path, |file| {
            bulla::unseal_stream(&here(), "test", sealed.as_slice(), file).map(|_| ())
        })
    };

    assert_eq!(attempt().unwrap_err().code(), "envelope.payload_changed");
    assert_eq!(names(directory.path()), [""; 0]);

    fs::write(&path, "old").unwrap();
    assert_eq!(attempt().unwrap_err().code(), "envelope.payload_changed");
    assert_eq!((names(directory.path()), fs::read(&path).unwrap()), (vec!["out".into()], b"old".to_vec()));

    let result: Result<(), Error> = file::replace(&path, |file| {
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()).len(), 2);
        Ok(())
    });
    result.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

/// R69: the second pass reads what was written, anew and before it takes the old one's place.
#[test]
fn a_file_is_verified_before_it_takes_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    fs::write(&path, "old").unwrap();
    let write =
        |file: &mut File| file.write_all(b"new").map_err(|source| Error::Io { what: "here".into(), source });
    let refused = file::replace_verified(&path, write, |file| {
        assert_eq!(io::read_to_string(file).unwrap(), "new");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        Err(Error::Malformed("refused"))
    });
    assert_eq!(refused.unwrap_err().code(), "envelope.malformed");
    assert_eq!((names(directory.path()), fs::read(&path).unwrap()), (vec!["out".into()], b"old".to_vec()));
    file::replace_verified(&path, write, |_| Ok(())).unwrap();
    assert_eq!((names(directory.path()), fs::read(&path).unwrap()), (vec!["out".into()], b"new".to_vec()));
}

/// R67: links, directories and devices are not replaced and not followed.
#[test]
fn only_a_regular_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (directory.path().join("target"), directory.path().join("link"));
    fs::write(&target, "old").unwrap();
    symlink(&target, &link).unwrap();
    for path in [link.as_path(), directory.path(), Path::new("/dev/null")] {
        let error = file::replace::<Error>(path, |_| panic!("it was opened")).unwrap_err();
        assert_eq!(error.code(), "file.not_regular");
    }
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_missing_directory_is_named() {
    let error = file::replace::<Error>(Path::new("/nonexistent/out"), |_| Ok(())).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound));
    assert!(error.to_string().starts_with("opening the directory of /nonexistent/out"), "{error}");
}
