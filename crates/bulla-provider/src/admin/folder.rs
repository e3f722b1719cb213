//! Where the admin socket may lie (R70).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

use crate::Error;

/// Group and others may write.
const WRITABLE: u32 = 0o022;

/// Refuses a socket in a folder that others can change: they could put another in its place (R70).
pub(crate) fn own_folder(socket: &Path) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::UnsafePlace { path: socket.into(), why: why.into() });
    let folder = match socket.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return refuse("it is no path of a file"),
    };
    let looking = Error::io(format!("looking at the folder of {}", socket.display()));
    let found = fs::symlink_metadata(folder).map_err(looking)?;
    if !found.is_dir() {
        return refuse("its folder is a link or no folder");
    }
    if found.uid() != geteuid().as_raw() {
        return refuse("its folder belongs to another user");
    }
    if found.mode() & WRITABLE != 0 {
        return refuse("other users can write to its folder: chmod go-w");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// R70, B33: a place that others can change is none.
    #[test]
    fn r70_the_folder_of_the_socket_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let why = |path: &str| own_folder(&folder.path().join(path)).unwrap_err().to_string();
        assert!(own_folder(&folder.path().join("admin.sock")).is_ok());
        symlink(folder.path(), folder.path().join("link")).unwrap();
        assert!(why("link/admin.sock").contains("a link"));
        assert!(why("missing/admin.sock").contains("looking at the folder"));
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(why("file/admin.sock").contains("no folder"));
        for mode in [0o770, 0o702] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            assert!(why("admin.sock").contains("can write to its folder"));
        }
        assert!(own_folder(Path::new("/")).is_err());
    }
}
