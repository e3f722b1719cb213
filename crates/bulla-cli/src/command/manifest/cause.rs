//! What is measured into each register, and so what probably changed when it did.
//!
//! Sources: the TDX Virtual Firmware Design Guide (which part of the boot goes into which register), the UEFI specification,
//! section 38.4.1, and what guest agents commonly do with RTMR3.

use std::collections::BTreeSet;

/// What changes a register.
pub(super) fn of(register: &str) -> &'static str {
    match register {
        "MRTD" => "the virtual firmware that the guest starts with, or how its host loads it",
        "RTMR0" => {
            "the configuration of virtual hardware and firmware: memory, processors, devices and ACPI tables, Secure Boot \
             keys, boot order"
        }
        "RTMR1" => {
            "the kernel, or a boot loader before it, or the partition table of the disk that it comes from"
        }
        "RTMR2" => "the kernel command line or the initrd",
        "RTMR3" => {
            "what the guest's own software measured at run time: the application, its configuration, the instance"
        }
        "MRCONFIGID" => "the configuration that the host declared when it started the guest",
        "MROWNER" => "the owner that the host declared when it started the guest",
        "MROWNERCONFIG" => "the owner's configuration that the host declared when it started the guest",
        "MRSERVICETD" => "the service TD that is bound to the guest",
        _ => "nothing that is known",
    }
}

/// What the changes together look like.
pub(super) fn together(changed: &BTreeSet<&str>) -> &'static str {
    let only = |names: &[&str]| changed.iter().eq(names.iter());
    let has = |name| changed.contains(name);
    if changed.is_empty() {
        "the same guest"
    } else if only(&["RTMR0"]) {
        "the same image on another virtual machine: other memory, processors, devices or firmware settings"
    } else if only(&["RTMR2"]) {
        "the same kernel with another command line or initrd; one blank more is enough"
    } else if only(&["RTMR1"]) {
        "another kernel or boot loader, with the same command line and initrd"
    } else if only(&["RTMR1", "RTMR2"]) {
        "a kernel update: another kernel, with its initrd or command line"
    } else if only(&["RTMR3"]) {
        "the same image with another application or configuration, or at another moment: fetch keys before anything is \
         extended at run time"
    } else if changed.iter().all(|name| name.starts_with("MR") && *name != "MRTD") {
        "the same image, declared differently by its host"
    } else if has("MRTD") && !has("RTMR1") && !has("RTMR2") {
        "an update of the virtual firmware under the same kernel"
    } else if has("MRTD") {
        "another image: firmware and what it starts"
    } else {
        "another build of the image under the same firmware"
    }
}
