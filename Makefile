# SPDX-License-Identifier: Apache-2.0
#
# all      build/docker-volume-rados, build/docker-volume-rados-server, build/radosvol-blockd,
#          build/radosvol-freeze, build/radosvol
# check    unit tests and fuzz targets (no root, no Ceph); scripts/check runs everything
# asan     the programs and unit tests with AddressSanitizer and UBSan, under build/asan
# tsan     the same with ThreadSanitizer, under build/tsan
# fuzz     the libFuzzer targets, under build/fuzz
# steps    what tests/steps needs, under build/tests/steps
# bench    what tests/bench needs, under build/bench; scripts/bench runs it
# format   let clang-format decide; lint: clang-tidy, cppcheck, format check, spelling
# install  to $(DESTDIR)$(PREFIX)
# deb      the Debian package, build/deb/docker-volume-rados_*.deb
#
# FLAVOR picks the build: empty (release), asan or tsan. WERROR=1 makes warnings errors.

FLAVOR  ?=
PREFIX  ?= /usr/local
BUILD   := build$(if $(FLAVOR),/$(FLAVOR))
VERSION := 0.1.0

PKGS        := blkid jansson libmicrohttpd libmnl smartcols
PKG_CONFIG  ?= pkg-config

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wformat=2 -Wvla $(if $(WERROR),-Werror)
HARDENING := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -fstack-clash-protection
ifeq ($(FLAVOR),asan)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
HARDENING := -fPIE
else ifeq ($(FLAVOR),tsan)
SANITIZE := -fsanitize=thread -fno-omit-frame-pointer
HARDENING := -fPIE
endif

OPT      ?= -O2 -g
CPPFLAGS += -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -Idriver -I.
CFLAGS   += -std=gnu17 $(OPT) $(WARNINGS) $(HARDENING) $(SANITIZE) -pthread
LDFLAGS  += -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE) -pthread
CFLAGS   += $(shell $(PKG_CONFIG) --cflags $(PKGS))

LIBS_KEEPER := -lmnl
LIBS_DRIVER := -lrados -lblkid -ljansson $(LIBS_KEEPER)
LIBS_SERVER := -lmicrohttpd $(LIBS_DRIVER)
LIBS_CLI    := -lsmartcols $(LIBS_DRIVER)

# Programs are a main file each; everything else is library.
BLOCKD_MAIN     := driver/block/blockd.c
FREEZE_MAIN     := driver/volume/freeze.c
SERVER_MAIN     := plugin/server/main.c
CLI_MAIN        := cli/main.c
DRIVER_SRCS     := $(filter-out $(BLOCKD_MAIN) $(FREEZE_MAIN),$(wildcard driver/*/*.c))
KEEPER_SRCS     := driver/block/keeper.c driver/block/fd_list.c driver/block/nbd_device.c
COMMON_SRCS     := $(wildcard plugin/*.c)
SERVER_SRCS     := $(filter-out $(SERVER_MAIN),$(wildcard plugin/server/*.c))
SUPERVISOR_SRCS := $(wildcard plugin/supervisor/*.c)
CLI_SRCS        := $(filter-out $(CLI_MAIN),$(wildcard cli/*.c))
UNIT_SRCS       := $(wildcard tests/unit/test_*.c)
LIVE_SRCS       := $(wildcard tests/driver/test_*.c)
FUZZ_SRCS       := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRCS      := $(wildcard tests/bench/*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
PROGRAMS := $(BUILD)/docker-volume-rados $(BUILD)/docker-volume-rados-server \
            $(BUILD)/radosvol-blockd $(BUILD)/radosvol-freeze $(BUILD)/radosvol
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRCS))
LIVE     := $(patsubst tests/driver/%.c,$(BUILD)/tests/driver/%,$(LIVE_SRCS)) \
            $(BUILD)/tests/exerciser/exerciser
STEPS    := $(BUILD)/tests/steps/lifecycle $(BUILD)/tests/steps/die.so
FUZZ     := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRCS))
BENCH    := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH_SRCS))

.PHONY: all tests unit live steps bench check asan tsan fuzz format lint install deb clean
.SECONDARY:

all: $(PROGRAMS)
unit: $(UNIT)
live: $(LIVE)
steps: $(STEPS)
bench: $(BENCH)
tests: unit live steps

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libdriver.a: $(call obj,$(DRIVER_SRCS))
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/libserver.a: $(call obj,$(SERVER_SRCS) $(COMMON_SRCS))
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libcli.a: $(call obj,$(CLI_SRCS))
	@rm -f $@
	$(AR) rcs $@ $^

# The supervisor links neither librados nor jansson: it must be small and must not die.
$(BUILD)/docker-volume-rados: $(call obj,$(SUPERVISOR_SRCS) $(COMMON_SRCS) $(KEEPER_SRCS) \
                              $(wildcard driver/base/*.c))
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_KEEPER)
$(BUILD)/docker-volume-rados-server: $(call obj,$(SERVER_MAIN)) $(BUILD)/libserver.a $(BUILD)/libdriver.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_SERVER)
$(BUILD)/radosvol-blockd: $(call obj,$(BLOCKD_MAIN)) $(BUILD)/libdriver.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_DRIVER)

# Runs while a file system is frozen, and needs hardly anything.
$(BUILD)/radosvol-freeze: $(call obj,$(FREEZE_MAIN) driver/volume/mountinfo.c \
                          $(KEEPER_SRCS) $(wildcard driver/base/*.c))
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_KEEPER)

$(BUILD)/radosvol: $(call obj,$(CLI_MAIN) $(COMMON_SRCS)) $(BUILD)/libcli.a $(BUILD)/libdriver.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_CLI)

$(BUILD)/tests/driver/%: $(BUILD)/obj/tests/driver/%.o $(BUILD)/libdriver.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS_DRIVER)
$(BUILD)/tests/exerciser/%: $(BUILD)/obj/tests/exerciser/%.o $(BUILD)/libdriver.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_DRIVER)
$(BUILD)/tests/steps/%: $(BUILD)/obj/tests/steps/%.o $(BUILD)/libdriver.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_DRIVER)
# Finds librados in the program that it is preloaded into.
$(BUILD)/tests/steps/%.so: tests/steps/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -shared -MMD -MP -o $@ $<
$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libcli.a $(BUILD)/libserver.a $(BUILD)/libdriver.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS_SERVER)

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lrados

# Fuzz targets are built whole with clang, so that the code under test carries its coverage too.
FUZZ_LIB_SRCS := $(DRIVER_SRCS) $(COMMON_SRCS) $(SERVER_SRCS)
fuzz: $(FUZZ)
$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	clang $(CPPFLAGS) -std=gnu17 -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
	    -fno-sanitize-recover=undefined -MMD -MP -c -o $@ $<
$(BUILD)/fuzz/libfuzzed.a: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(FUZZ_LIB_SRCS))
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(BUILD)/fuzz/libfuzzed.a
	@mkdir -p $(@D)
	clang -fsanitize=fuzzer,address,undefined -pthread -o $@ $^ $(LIBS_SERVER)

check: unit fuzz
	BUILD_DIR=$(BUILD) tests/run unit fuzz
asan:
	$(MAKE) FLAVOR=asan all unit live
tsan:
	$(MAKE) FLAVOR=tsan all unit

C_FILES = $(shell git ls-files '*.c' '*.h')
format:
	clang-format -i $(C_FILES)
lint:
	scripts/lint

install: all
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/sbin $(BUILD)/docker-volume-rados $(BUILD)/radosvol
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/libexec/docker-volume-rados \
	    $(BUILD)/docker-volume-rados-server $(BUILD)/radosvol-blockd \
	    $(BUILD)/radosvol-freeze
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 docs/man/*.8
	install -D -m 0644 packaging/radosvol.bash-completion \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/radosvol

# From a copy of the source, as debian/ has to be at its top and the result lands beside it.
DEB := build/deb
deb:
	rm -rf $(DEB)
	mkdir -p $(DEB)/source
	tar -c --exclude=./build --exclude=./.git . | tar -x -C $(DEB)/source
	cp -r packaging/debian $(DEB)/source/debian
	cd $(DEB)/source && MAKEFLAGS= MAKELEVEL= dpkg-buildpackage -us -uc -b
	rm -rf $(DEB)/source

clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
