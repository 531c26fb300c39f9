"""A recording can't make the decoder open another file or address, whatever its bytes say."""

import http.server
import io
import socket
import threading

import pytest

from speechprune.audio import AudioError, AudioUnreadable, decode_audio, header_seconds, recording_seconds
from tests.helpers.telling_tones import telling_tones, write_container

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {} RTP/AVP 0\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="0" '
    'bandwidth="1000"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)


@pytest.fixture
def server(tmp_path):
    """A web server on the loopback that counts its requests; its folder holds targets that exist."""
    sound = telling_tones(5)
    (tmp_path / "secret.wav").write_bytes(write_container(sound, "wav", "pcm_s16le"))
    (tmp_path / "secret.ts").write_bytes(write_container(sound, "mpegts", "aac"))
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, directory=str(tmp_path), **options)

        def do_GET(self) -> None:
            requests.append(self.path)
            super().do_GET()

        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{web.server_address[1]}", requests
        web.shutdown()


@pytest.fixture
def port():
    """A UDP port that somebody listens on already."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


@pytest.fixture(params=["first bytes", "FFmpeg's limits alone"])
def defence(request, monkeypatch):
    """Each of the two alone must hold."""
    if request.param != "first bytes":
        monkeypatch.setattr("speechprune.audio.container.PLAYLIST_MARKS", ())
    return request.param


def test_what_names_other_files_is_refused(server, port, defence, monkeypatch):
    folder, address, requests = server
    monkeypatch.chdir(folder)
    texts = {
        "meeting.mp3": "ffconcat version 1.0\nfile secret.wav\n",
        "absolute.mp3": f"ffconcat version 1.0\nfile '{folder}/secret.wav'\n",
        "net.mp3": f"ffconcat version 1.0\nfile {address}/secret.wav\n",
        "standup.wav": SDP.format(port),
        "standup.sdp": SDP.format(5004),
        "net.m3u8": HLS.format(f"{address}/secret.ts"),
        "local.m3u8": HLS.format(folder / "secret.ts"),
        "nested.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nlocal.m3u8\n",
        "manifest.mpd": DASH.format(f"{address}/secret.ts"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name, text in texts.items():
        for source in (name, str(folder / name), text.encode(), f"{address}/{name}"):
            requests.clear()
            with pytest.raises(AudioUnreadable) as caught:
                decode_audio(source)
            sentence = str(caught.value)
            assert "\n" not in sentence
            if defence == "first bytes" and name != "manifest.mpd":
                assert "is a playlist, no recording: list the recordings that it names" in sentence
            assert all(path == f"/{name}" for path in requests)
        requests.clear()
        assert header_seconds(str(folder / name)) is None
        assert recording_seconds(str(folder / name)) is None
        assert not requests


def test_recordings_with_pictures_and_texts_are_still_decoded():
    """What the limits might have hit: cover art, chapters, an index at the end."""
    for container, codec in (("mp4", "aac"), ("ogg", "libopus"), ("mp3", "libmp3lame"), ("matroska", "flac")):
        rate = 48_000 if codec == "libopus" else 16_000
        assert len(decode_audio(write_container(telling_tones(3), container, codec, rate))) > 45_000


def test_what_is_no_regular_file_is_refused(tmp_path):
    """A named pipe without a writer would hold its reader for ever."""
    import os

    os.mkfifo(tmp_path / "meeting.wav")
    for path in (tmp_path / "meeting.wav", "/dev/zero", f"file://{tmp_path}/meeting.wav"):
        with pytest.raises(AudioError, match="is no regular file"):
            decode_audio(path)
        assert header_seconds(str(path)) is None


def test_a_file_object_needs_no_name():
    sound = telling_tones(2)
    assert len(decode_audio(io.BytesIO(write_container(sound, "wav", "pcm_s16le")))) == len(sound)
