"""Archives for tests."""

import io
import tarfile
import zipfile


def tar(members: dict[str, bytes | str]) -> bytes:
    """A tar archive; a str stands for a link to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()
