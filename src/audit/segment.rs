//! The files: of `session.log` they are `session-000001.log`, `session-000002.log` and so on, each begun by one process
//! and written by it alone. As long as it is, its process holds a lock on it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::chain::Link;
use super::head;
use super::lines::{Lines, Next, torn};
use super::wire::{Line, Previous, Torn};

/// How much of a file's end is looked at for its last line: many times the longest line, with all that a crash or a full
/// disk can have left behind it.
const TAIL: u64 = 1024 * 1024;

/// How many segments there may be however short they are: a folder with more takes long to look through.
const MOST: usize = 1_000;

/// What a new segment goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) previous: Previous,
    /// The number of the oldest segment that was not taken away yet, as the segment before says.
    pub(super) oldest: u64,
}

/// The segments of a trail, the oldest first.
///
/// # Errors
///
/// When the folder cannot be read; one that is not there has none.
pub fn list(trail: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(numbered(trail)?.into_iter().map(|(_, path)| path).collect())
}

/// The segments of a trail by their numbers.
pub(super) fn numbered(trail: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for path in beside(trail)? {
        found.extend(number(trail, &path).map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

/// The segments whose heads stand there, and they themselves do not.
pub(super) fn missed(trail: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for path in beside(trail)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "head")) {
        let segment = path.with_extension("");
        if !segment.exists() {
            found.extend(number(trail, &segment).map(|number| (number, segment)));
        }
    }
    found.sort();
    Ok(found)
}

/// Begins the segment behind the newest one, and locks it. Two processes never get the same.
pub(super) fn create(trail: &Path) -> io::Result<(PathBuf, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder(trail))?;
    clear_stillborn(trail)?;
    let newest = |found: Vec<(u64, PathBuf)>| found.last().map_or(0, |(number, _)| *number);
    let newest = newest(numbered(trail)?).max(newest(missed(trail)?));
    for number in newest + 1.. {
        let path = trail.with_file_name(name(trail, number));
        // No link is followed by this, wherever somebody lets it lead.
        match OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                // Where a file system knows no locks, nobody can be asked whether he lives.
                let _ = file.lock();
                // Somebody who took it for stillborn may have been faster.
                if file.metadata()?.nlink() > 0 {
                    return Ok((path, file));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are no numbers left"))
}

/// Brings the names in the trail's folder to the disk, of which its files know nothing.
pub(super) fn sync_names(trail: &Path) -> io::Result<()> {
    File::open(folder(trail))?.sync_all()
}

/// Whether `file` still stands at `path`: what is written into one that does not, nobody finds.
pub(super) fn stands_at(file: &File, path: &Path) -> bool {
    let of = |metadata: io::Result<fs::Metadata>| metadata.map(|it| (it.dev(), it.ino())).ok();
    of(file.metadata()).is_some_and(|ours| of(fs::symlink_metadata(path)) == Some(ours))
}

/// Lets the trail's own name lead to its newest segment, for whoever follows it at a terminal. It is no part of the
/// trail, and what stands there already is left alone.
pub(super) fn point(trail: &Path, newest: &Path) {
    let beside = trail.with_extension("newest");
    let is_ours = fs::symlink_metadata(trail).map_or(true, |there| there.is_symlink());
    let Some(name) = newest.file_name().filter(|_| is_ours) else { return };
    let _ = fs::remove_file(&beside);
    let _ = symlink(name, &beside).and_then(|()| fs::rename(&beside, trail));
}

/// The oldest segments, without which the newest one and `keep` less one full ones of `max_size` are left. Each start
/// begins a segment, so that a program which starts again and again would push everything out if they were merely
/// counted. None that is still written is among them, and none behind it, since a gap would look as if somebody had made it.
pub(super) fn too_old(trail: &Path, keep: usize, max_size: u64) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = numbered(trail)?;
    let full = max_size.saturating_mul(keep.saturating_sub(1) as u64);
    let (mut newer, mut kept) = (0, 0);
    for (_, path) in segments.iter().rev() {
        if kept >= MOST.max(keep) || (kept >= keep && newer >= full) {
            break;
        }
        newer += fs::metadata(path)?.len();
        kept += 1;
    }
    segments.truncate(segments.len() - kept);
    let live = segments.iter().position(|(_, path)| is_live(path)).unwrap_or(segments.len());
    segments.truncate(live);
    Ok(segments)
}

/// Takes a segment away, with its head.
pub(super) fn remove(segment: &Path) -> io::Result<()> {
    fs::remove_file(segment)?;
    fs::remove_file(head::path(segment))
}

/// What the newest segment that says anything ends with.
pub(super) fn last_end(trail: &Path) -> io::Result<Option<End>> {
    for segment in list(trail)?.iter().rev() {
        // Asked first: what a process leaves when it ends stands there once it has ended.
        let ended = !is_live(segment);
        let Some((sequence, link, torn)) = end(segment)? else { continue };
        let oldest = opening(segment)?.and_then(|line| line.oldest).unwrap_or(1);
        // Half a line of somebody who is about to write the rest is not torn.
        let torn = torn.filter(|_| ended);
        let previous = Previous { segment: file_name(segment), sequence, chain: link.to_string(), ended, torn };
        return Ok(Some(End { previous, oldest }));
    }
    Ok(None)
}

/// A segment's first line.
pub(super) fn opening(segment: &Path) -> io::Result<Option<Line>> {
    Ok(match Lines::of(segment)?.next()? {
        Next::Line(line) => serde_json::from_slice(line).ok(),
        _ => None,
    })
}

/// What stands in a segment behind its first `size` bytes.
pub(super) fn left_behind(mut segment: &File, size: u64) -> io::Result<Option<Torn>> {
    segment.seek(SeekFrom::Start(size))?;
    let mut rest = Vec::new();
    segment.read_to_end(&mut rest)?;
    Ok(torn(&rest))
}

/// How a segment is called in the lines that speak of it.
pub(super) fn file_name(segment: &Path) -> String {
    segment.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// How the segment with a number is called.
pub(super) fn name(trail: &Path, number: u64) -> OsString {
    let mut name = trail.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:06}"));
    if let Some(extension) = trail.extension() {
        name.push(".");
        name.push(extension);
    }
    name
}

/// Takes away what a process has begun that ended before it wrote anything.
fn clear_stillborn(trail: &Path) -> io::Result<()> {
    let Some(newest) = list(trail)?.pop() else { return Ok(()) };
    let file = File::open(&newest)?;
    // One that has a head had been begun, and whoever has emptied it is not helped to hide that.
    let is_stillborn = file.try_lock().is_ok() && file.metadata()?.len() == 0 && !head::path(&newest).exists();
    if is_stillborn { fs::remove_file(&newest) } else { Ok(()) }
}

/// Whether the process that began a segment still writes it.
fn is_live(segment: &Path) -> bool {
    File::open(segment).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The last line that can be read, and what is left behind it. Whether it is genuine is for [`super::verify()`] to say.
fn end(segment: &Path) -> io::Result<Option<(u64, Link, Option<Torn>)>> {
    let mut file = File::open(segment)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let mut whole = tail.len();
    while let Some(end) = tail[..whole].iter().rposition(|byte| *byte == b'\n') {
        let start = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        if let Some((sequence, link)) = std::str::from_utf8(&tail[start..end]).ok().and_then(place) {
            return Ok(Some((sequence, link, torn(&tail[end + 1..]))));
        }
        whole = end;
    }
    Ok(None)
}

/// A line's number, and the link that it claims to be.
fn place(line: &str) -> Option<(u64, Link)> {
    let sequence = serde_json::from_str::<Line>(line).ok()?.sequence;
    Some((sequence, Link::said_by(line)?))
}

/// What stands in the trail's folder.
fn beside(trail: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder(trail)) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn folder(trail: &Path) -> &Path {
    trail.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn number(trail: &Path, segment: &Path) -> Option<u64> {
    if segment.extension() != trail.extension() {
        return None;
    }
    let stem = segment.file_stem()?.to_str()?;
    let digits = stem.strip_prefix(trail.file_stem()?.to_str()?)?.strip_prefix('-')?;
    (digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}
