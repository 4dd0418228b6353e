/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "volume/mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first line is the mount point that is looked for, the rest is mountinfo. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    char *target = text;
    char *rest;
    dev_t device;
    int r;

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    rest = strchr(text, '\n');
    if (rest)
        *rest++ = '\0';
    r = mountinfo_find(rest ? rest : "", target, &device);
    assert(r == 0 || r == -ENOENT);
    assert(r < 0 || *target); /* no mount point is empty */
    if (r == 0) {             /* then that mount is also found by its device */
        const char *at = rest;
        char found[256];
        int seen = 0;

        while (mountinfo_next(&at, device, found, sizeof(found)) == 0)
            seen |= strcmp(found, target) == 0;
        assert(seen || strlen(target) >= sizeof(found));
    }
    free(text);
    return 0;
}
