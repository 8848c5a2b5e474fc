"""Replies of Mistral's beside its chats, from the types of its own SDK: conversations, documents, sound."""

from __future__ import annotations

from functools import partial

from mistralai.client.models import (
    ChatCompletionResponse,
    ConversationResponse,
    OCRResponse,
    SpeechStreamDone,
    TranscriptionResponse,
    TranscriptionStreamDone,
)

from callfare.usage.mistral import read_chat, read_conversation, read_document, read_transcript
from tests.truth.cases import Case

M = 1_000_000
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
ENTRY = {"type": "message.output", "id": "msg_1", "model": "mistral-medium-latest", "content": "Yes."}
# As the page of Mistral's tools shows what a search has used, without the search itself, which has no price here.
TURN = {"prompt_tokens": 188, "completion_tokens": 55, "total_tokens": 7355, "connector_tokens": 7112}
# As the page of its transcripts shows it; the tokens of the sound stand in the total alone.
HEARD = {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3264}
TRANSCRIPT = {"model": "voxtral-mini-2602", "text": "Yes.", "language": "en", "usage": HEARD}
PAGE = {"index": 0, "markdown": "# Yes", "images": [], "dimensions": None}


def document(model):
    return OCRResponse(model=model, pages=[PAGE], usage_info={"pages_processed": 29, "doc_size_bytes": 3_002_783})


def case(name, operation, model, reader, replies, lines, totals, asked=(), **fixed):
    return Case(
        name=name,
        provider="mistral",
        operation=operation,
        model=model,
        reader=reader,
        replies=replies,
        lines=lines,
        totals=totals,
        fixed=fixed,
        asked=dict(asked),
    )


CASES = [
    case(
        "a turn of a conversation, with what a tool put in",
        "conversation",
        "mistral-medium-latest",
        read_conversation,
        [
            ConversationResponse(conversation_id="conv_1", outputs=[ENTRY], usage=TURN),
            # As its stream is added up.
            {"conversation_id": "conv_1", "outputs": [ENTRY], "usage": TURN},
        ],
        [
            ("input_tokens", 188, "1.5", M),
            ("connector_tokens", 7112, "1.5", M),
            ("output_tokens", 55, "7.5", M),
        ],
        {"input_tokens": 188 + 7112, "output_tokens": 55},
    ),
    case(
        "a document",
        "ocr",
        "mistral-ocr-latest",
        read_document,
        [document("mistral-ocr-latest")],
        [("pages", 29, "4", 1000)],
        {"pages": 29},
    ),
    case(
        "a document, annotated",
        "ocr",
        "mistral-ocr-2512",
        partial(read_document, is_annotated=True),
        [document("mistral-ocr-2512")],
        [("annotated_pages", 29, "3", 1000)],
        {"pages": 29},
    ),
    case(
        "a chat of a batch, half the price",
        "chat",
        "mistral-small-latest",
        read_chat,
        [
            ChatCompletionResponse(
                id="cmpl-1",
                created=1,
                model="mistral-small-latest",
                object="chat.completion",
                choices=[CHOICE],
                usage={"prompt_tokens": 21, "completion_tokens": 91, "total_tokens": 112},
            ),
            # As a line of results has it.
            {
                "id": "cmpl-1",
                "object": "chat.completion",
                "model": "mistral-small-latest",
                "choices": [CHOICE],
                "usage": {"prompt_tokens": 21, "completion_tokens": 91, "total_tokens": 112},
            },
        ],
        [("input_tokens", 21, "0.075", M), ("output_tokens", 91, "0.3", M)],
        {"input_tokens": 21, "output_tokens": 91},
        asked={"processing": "batch"},
    ),
    case(
        "a document of a batch, half the price",
        "ocr",
        "mistral-ocr-latest",
        read_document,
        [document("mistral-ocr-latest")],
        [("pages", 29, "2", 1000)],
        {"pages": 29},
        asked={"processing": "batch"},
    ),
    case(
        "a transcript of a batch, half the price",
        "transcription",
        "voxtral-mini-2602",
        read_transcript,
        [TranscriptionResponse(**TRANSCRIPT)],
        [("audio_seconds", 203, "0.09", 3600)],
        {"audio_seconds": 203},
        asked={"processing": "batch"},
    ),
    case(
        "a transcript, plain and streamed",
        "transcription",
        "voxtral-mini-2602",
        read_transcript,
        [TranscriptionResponse(**TRANSCRIPT), TranscriptionStreamDone(**TRANSCRIPT)],
        [("audio_seconds", 203, "0.18", 3600)],
        {"audio_seconds": 203},
    ),
    case(
        "a chat that heard sound",
        "chat",
        "voxtral-small-latest",
        read_chat,
        [
            ChatCompletionResponse(
                id="cmpl-1",
                created=1,
                model="voxtral-small-latest",
                object="chat.completion",
                choices=[CHOICE],
                usage=HEARD,
            )
        ],
        [("input_tokens", 4, "0.1", M), ("output_tokens", 635, "0.4", M), ("audio_seconds", 203, "0.24", 3600)],
        {"input_tokens": 4, "output_tokens": 635, "audio_seconds": 203},
    ),
    case(
        "speech, streamed",
        "speech",
        "voxtral-mini-tts-2603",
        None,
        [SpeechStreamDone(usage={"prompt_tokens": 12, "completion_tokens": 60, "total_tokens": 72})],
        [("characters", 43, "16", M)],
        {"characters": 43},
        characters=43,
    ),
    case(
        "speech of the third generation",
        "speech",
        "voxtral-mini-tts-3-0",
        None,
        [{"audio_data": "AAAA"}],
        [("characters", 43, "13", M)],
        {"characters": 43},
        characters=43,
    ),
]
