"""Download public data into the user's cache; each file is checked against its SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from motegpt.config.text import shortened
from motegpt.errors import MotegptError, UsageError


class Download(NamedTuple):
    """A public file: its name in the cache, its URL, and the SHA-256 of its bytes."""

    file: str
    url: str
    sha256: str


DOWNLOADS = {
    "names": Download(
        file="names.txt",
        url="https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
        sha256="0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
    ),
}


def fetch(name: str, folder: str | Path | None = None, url: str | None = None) -> Path:
    """The path of a file of DOWNLOADS in the cache (or in `folder`), downloaded unless it already exists.

    url: an alternative source. A file with a wrong digest is deleted. Raises MotegptError if the download
    fails, UsageError for an unknown name.
    """
    import logging

    import pooch  # type: ignore[import-untyped]

    if name not in DOWNLOADS:
        raise UsageError(f"fetch: expected one of {', '.join(DOWNLOADS)}, got {shortened(name)}")
    download = DOWNLOADS[name]
    address = url or download.url
    if urlsplit(address).scheme not in ("http", "https"):
        raise UsageError(
            f"fetch: expected a URL that begins with http:// or https://, got {shortened(address)}"
        )
    pooch.get_logger().setLevel(logging.WARNING)
    return _retrieve(download, address, Path(folder or pooch.os_cache("motegpt")))


def _retrieve(download: Download, url: str, folder: Path) -> Path:
    """Download with pooch, which writes a temporary file and renames it after checking the digest."""
    import pooch
    import requests

    try:
        return Path(pooch.retrieve(url, f"sha256:{download.sha256}", fname=download.file, path=folder))
    except requests.HTTPError as error:
        answer = "no status" if error.response is None else error.response.status_code
        raise _failed(download, url, f"the server responded {answer}") from None
    except requests.Timeout:
        raise _failed(download, url, "the server did not respond in time") from None
    except requests.ConnectionError:
        raise _failed(download, url, "no connection; is there a network?") from None
    except requests.RequestException as error:
        raise _failed(download, url, str(error)) from None
    except OSError as error:
        raise MotegptError(f"fetch: cannot write to {folder} ({error.strerror or error})") from None
    except ValueError:
        raise MotegptError(
            f"fetch: expected a file with SHA-256 {download.sha256} from {url}, got another; it was deleted"
        ) from None


def _failed(download: Download, url: str, why: str) -> MotegptError:
    return MotegptError(
        f"fetch: cannot download {url} ({why}); or: curl -LO {download.url} on a machine with a network, "
        f"and pass the path of {download.file}"
    )
