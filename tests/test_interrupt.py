"""Ctrl-C, cancellation, kills and company: a run may end at any moment, and several may run at once.

What a process does is watched from outside: it is a real one, the provider is a simulator here, and its bill says what
was sent and what it cost.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pandas as pd
import pytest

import dfllm
from dfllm._run import engine, retry_seam
