/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/error.h"

#define SIGNATURE_MAX 128

/* What libblkid recognises on FD (a block device or a file): the name of a file system, RAID member
 * or other content, or of a partition table. 0 with the name; -ENODATA when there is no signature
 * at all; -EMEDIUMTYPE, also with a name, when there are several; or another errno with err. */
int probe_signature(int fd, char ret_name[SIGNATURE_MAX], struct error *err);
