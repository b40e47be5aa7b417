"""Text that others wrote, read within limits: of bytes before a file is read, of depth and size before anything is built.

What a file may cost is decided here, and what it has to say by who reads it: every problem is a :class:`ParseError`, a part
of a sentence that the reader completes with the file's name and makes an error of its own of. Knows of no file of ours.
"""

from rllib_reborn.parsing.errors import ParseError, ReadError
from rllib_reborn.parsing.files import read_file
from rllib_reborn.parsing.json_text import parse_json

__all__ = ["ParseError", "ReadError", "parse_json", "read_file"]
