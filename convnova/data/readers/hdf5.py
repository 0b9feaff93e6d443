"""The arrays of an HDF5 file, as far as they lie in the file itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from convnova.data.unpack import unpack_limit
from convnova.errors import ConvNovaError

if TYPE_CHECKING:
    import h5py


@contextmanager
def arrays(path: Path) -> Iterator[dict[str, "h5py.Dataset"]]:
    """The arrays at the root of a file. What is read of them is read in the block.

    Raises:
        ConvNovaError: the file is damaged; an array lies in another file, or is larger than `unpack_limit`.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            found = {}
            for name in file:
                is_inside = isinstance(file.get(name, getlink=True), h5py.HardLink)
                array = file[name] if is_inside else None
                if isinstance(array, h5py.Dataset):
                    is_inside = not array.external and not array.is_virtual
                    found[name] = array
                    if (array.size or 0) * array.dtype.itemsize > unpack_limit(path):
                        raise ConvNovaError(f"{path}: expected a file of data, found {name!r} of shape {array.shape}")
                if not is_inside:
                    raise ConvNovaError(f"{path}: expected data in the file itself, found {name!r} elsewhere")
            yield found
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ConvNovaError(f"{path}: expected an HDF5 file ({error}); fetch it again") from error
