//! The files of a simulated machine where a program looks for them, and nobody else.
//!
//! This process takes a mount namespace of its own, in which what is served is put over the paths of the real machine. Nothing
//! of the host's is changed: a folder that lacks a name (a `/dev` without `/dev/attestation`) is covered by another one in memory, in which
//! everything else is bound to where it was.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_bind_recursive, mount_change, move_mount,
    unmount,
};
use tempfile::TempDir;

use crate::mount::Mount;
use crate::pseudo::Tree;

/// Takes a mount namespace: as root, or else as the only user of a user namespace.
///
/// # Errors
/// If the kernel gives neither.
pub(crate) fn enter() -> io::Result<()> {
    match unshare(CloneFlags::CLONE_NEWNS) {
        Err(nix::errno::Errno::EPERM) => {
            let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
            fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
        }
        other => other?,
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

/// Serves a tree, and puts these places of it over the same ones below `/`. They end when what is returned is dropped.
pub(crate) fn set(tree: impl Tree, places: &[&str]) -> io::Result<Mount> {
    let behind = TempDir::new()?;
    let mount = Mount::on(tree, behind.path())?;
    for place in places {
        put(&behind.path().join(place), &Path::new("/").join(place))?;
    }
    // It is served where it was put.
    unmount(behind.path(), UnmountFlags::DETACH)?;
    Ok(mount)
}

fn put(source: &Path, target: &Path) -> io::Result<()> {
    let is_folder = source.is_dir();
    let fits =
        fs::symlink_metadata(target).is_ok_and(|there| !there.is_symlink() && there.is_dir() == is_folder);
    if !fits {
        make_room(target)?;
        match is_folder {
            true => fs::create_dir_all(target)?,
            false => {
                fs::create_dir_all(target.parent().unwrap_or(target))?;
                File::create(target)?;
            }
        }
    }
    Ok(mount_bind_recursive(source, target)?)
}

/// Covers the deepest folder on the way to `target` by one in memory, with all that is in it but what is in the way.
fn make_room(target: &Path) -> io::Result<()> {
    let mut missing: &Path = target;
    let folder = loop {
        let parent = missing.parent().ok_or(io::ErrorKind::NotFound)?;
        if parent.is_dir() {
            break parent;
        }
        missing = parent;
    };
    let behind = TempDir::new()?;
    mount_bind_recursive(folder, behind.path())?;
    cover(folder)?;
    for entry in fs::read_dir(behind.path())? {
        let (name, kind) = entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?)))?;
        if Some(name.as_os_str()) != missing.file_name() {
            bind(behind.path(), folder, &name, kind)?;
        }
    }
    unmount(behind.path(), UnmountFlags::DETACH)?;
    Ok(())
}

/// An empty folder in memory, over another.
fn cover(folder: &Path) -> io::Result<()> {
    let filesystem = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&filesystem, "source", "bulla-sim")?;
    fsconfig_set_string(&filesystem, "mode", "755")?;
    fsconfig_create(&filesystem)?;
    let mount = fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    Ok(move_mount(&mount, "", CWD, folder, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn bind(from: &Path, to: &Path, name: &OsStr, kind: fs::FileType) -> io::Result<()> {
    let (source, target): (PathBuf, PathBuf) = (from.join(name), to.join(name));
    if kind.is_symlink() {
        return symlink(fs::read_link(source)?, target);
    }
    match kind.is_dir() {
        true => fs::create_dir(&target)?,
        false => drop(File::create(&target)?),
    }
    Ok(mount_bind_recursive(source, target)?)
}
