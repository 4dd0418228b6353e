/* SPDX-License-Identifier: Apache-2.0 */
#include "decoders.h"

#include <errno.h>

#include "rados/header_notify.h"

/* What other clients of an image send on its header. The first byte picks the decoder; the rest is
 * what they sent, or edits to a good sample of it. */

static const char notify_sample[] =
    "\x07\x01\x14\x00\x00\x00\x00\x00\x00\x00\x88\x37\x00\x00\x00\x00"
    "\x00\x00\xb0\x17\x00\x08\x85\x7f\x00\x00";
static const char snap_create_sample[] =
    "\x07\x01\x34\x00\x00\x00\x08\x00\x00\x00\x02\x00\x00\x00\x73\x31"
    "\x01\x01\x04\x00\x00\x00\x00\x00\x00\x00\x8a\x37\x00\x00\x00\x00"
    "\x00\x00\x40\x50\x00\xcc\x24\x7f\x00\x00\x01\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
static const char resize_sample[] =
    "\x07\x01\x25\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x08\x00\x00"
    "\x00\x00\x1a\x10\x00\x00\x00\x00\x00\x00\x50\x7c\x01\xd0\x39\x7f"
    "\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00";
static const char result_sample[] = "\x01\x01\x04\x00\x00\x00\xe2\xff\xff\xff";
static const char answer_sample[] =
    "\x02\x00\x00\x00\x86\x37\x00\x00\x00\x00\x00\x00\x60\x0d\x4a\xce"
    "\xef\x55\x00\x00\x00\x00\x00\x00\x88\x37\x00\x00\x00\x00\x00\x00"
    "\xb0\x17\x00\x08\x85\x7f\x00\x00\x0a\x00\x00\x00\x01\x01\x04\x00"
    "\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x07\x00\x00\x00\x00\x00"
    "\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00";

static void fuzz_notify(struct decoder d)
{
    cleanup_encoder struct encoder e = {0};
    struct header_notify notify, again;

    fuzz_fill(&notify, sizeof(notify));
    if (notify_decode(d, &notify) < 0) {
        CHECK(fuzz_untouched(&notify, sizeof(notify)));
        return;
    }
    CHECK(memchr(notify.snapshot, 0, sizeof(notify.snapshot)));
    notify_encode(&e, &notify);
    CHECK(!e.failed && notify_decode(decoder_of(e.data, e.len), &again) == 0);
    CHECK(again.op == notify.op && again.client_id == notify.client_id &&
          again.handle == notify.handle);
    CHECK(memcmp(&again.id, &notify.id, sizeof(again.id)) == 0);
    CHECK(strcmp(again.snapshot, notify.snapshot) == 0 && again.flags == notify.flags &&
          again.namespace_type == notify.namespace_type);
    CHECK(again.size == notify.size && again.allow_shrink == notify.allow_shrink);
    CHECK(again.done == notify.done && again.total == notify.total &&
          again.result == notify.result);
}

static void fuzz_snap_create(struct decoder d)
{
    fuzz_notify(d);
}

static void fuzz_resize(struct decoder d)
{
    fuzz_notify(d);
}

static void fuzz_result(struct decoder d)
{
    cleanup_encoder struct encoder e = {0};
    int32_t result, again;

    if (notify_decode_result(d, &result) < 0)
        return;
    notify_encode_result(&e, result);
    CHECK(!e.failed && notify_decode_result(decoder_of(e.data, e.len), &again) == 0);
    CHECK(again == result);
}

static void fuzz_answer(struct decoder d)
{
    struct notify_answer answer;

    fuzz_fill(&answer, sizeof(answer));
    if (notify_decode_answer(d, &answer) < 0) {
        CHECK(fuzz_untouched(&answer, sizeof(answer)));
        return;
    }
    CHECK(4 + answer.ack_count * 20 + 4 + answer.timeout_count * 16 <= decoder_left(&d));
    for (size_t i = 0; i < answer.ack_count; i++)
        CHECK((answer.acks[i].answered || answer.acks[i].result == 0) &&
              memchr(answer.acks[i].words, 0, sizeof(answer.acks[i].words)));
    for (size_t i = 0; i < answer.timeout_count; i++)
        CHECK(answer.timeouts[i].result == 0);
    notify_answer_free(&answer);
    CHECK(!answer.acks && !answer.timeouts && answer.ack_count + answer.timeout_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct decoder_target targets[] = {TARGET(notify), TARGET(snap_create),
                                                    TARGET(resize), TARGET(result), TARGET(answer)};

    fuzz_decoders(targets, sizeof(targets) / sizeof(targets[0]), data, size);
    return 0;
}
