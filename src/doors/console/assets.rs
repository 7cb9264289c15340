//! The files of the console.

use agentry_protocol::ContentHash;

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: &'static str,
    /// Its media type.
    pub(super) media_type: &'static str,
    /// Its content.
    pub(super) bytes: &'static [u8],
}

impl Asset {
    /// What distinguishes its content from that of other versions.
    pub(super) fn tag(&self) -> String {
        let hash = ContentHash::of(self.bytes).to_string();
        let hash = hash.rsplit('x').next().unwrap_or_default();
        format!("\"{}\"", hash.get(..24).unwrap_or_default())
    }
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal $media_type:ident $file:literal,)+) => {
        &[$(Asset {
            path: $path,
            media_type: $media_type,
            bytes: include_bytes!(concat!("assets/", $file)),
        }),+]
    };
}

/// Every file.
pub(super) static ALL: &[Asset] = assets![
    "/" HTML "index.html",
    "/console/console.css" STYLE "console.css",
    "/console/icon.svg" IMAGE "icon.svg",
    "/console/app.js" SCRIPT "app.js",
    "/console/api.js" SCRIPT "api.js",
    "/console/text.js" SCRIPT "text.js",
    "/console/parts.js" SCRIPT "parts.js",
    "/console/plots.js" SCRIPT "plots.js",
    "/console/views.js" SCRIPT "views.js",
    "/console/work.js" SCRIPT "work.js",
    "/console/talk.js" SCRIPT "talk.js",
    "/console/live.js" SCRIPT "live.js",
    "/console/vendor/preact.js" SCRIPT "vendor/htm-preact-standalone.module.js",
    "/console/vendor/uplot.js" SCRIPT "vendor/uPlot.iife.min.js",
    "/console/vendor/uplot.css" STYLE "vendor/uPlot.min.css",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doors/console/assets")
    }

    #[test]
    fn every_file_is_served_once() {
        let paths: HashSet<_> = ALL.iter().map(|asset| asset.path).collect();
        let tags: HashSet<_> = ALL.iter().map(Asset::tag).collect();
        assert_eq!((paths.len(), tags.len()), (ALL.len(), ALL.len()));
        let found = fs::read_dir(folder()).unwrap();
        let found = found.filter(|entry| entry.as_ref().unwrap().path().is_file());
        let own = ALL.iter().filter(|asset| !asset.path.contains("/vendor/"));
        assert_eq!(own.count(), found.count());
    }

    #[test]
    fn the_files_of_others_are_those_that_were_fetched() {
        let vendor = folder().join("vendor");
        let sums = fs::read_to_string(vendor.join("SHA256SUMS")).unwrap();
        let mut listed = HashSet::new();
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            let bytes = fs::read(vendor.join(name)).unwrap();
            assert_eq!(hex::encode(Sha256::digest(&bytes)), sum, "{name}");
            listed.insert(name.to_owned());
        }
        for entry in fs::read_dir(&vendor).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                listed.contains(&name) || ["SHA256SUMS", "README.md"].contains(&name.as_str()),
                "{name}"
            );
        }
    }

    #[test]
    fn no_page_loads_anything_from_elsewhere_or_runs_text() {
        for asset in ALL.iter().filter(|asset| !asset.path.contains("/vendor/")) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for banned in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "dangerouslySetInnerHTML",
                "document.write",
                "eval(",
                "new Function",
                " style=",
                " onclick=\"",
            ] {
                assert!(!text.contains(banned), "{} has {banned:?}", asset.path);
            }
        }
    }
}
