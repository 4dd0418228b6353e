/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "plugin/supervisor/blockds.h"

/* A supervisor that died left its blockds running: take them over. */

/* Look at every control socket in RUN_DIR/blockd: where nobody listens remove the files; ask each
 * living blockd to give its descriptors (BLOCKD_ADOPT, control.h). Does not wait for the answers.
 * Failures are logged; only a directory that cannot be read is an error. */
int adopt_all(struct blockds *blockds, struct error *err);

/* LOOP_ADOPTION: the blockd in row INDEX answers, or hangs up. */
void adopt_on_answer(struct blockds *blockds, uint32_t index);
