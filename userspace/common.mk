# SPDX-License-Identifier: GPL-2.0-only
# Rules shared by all programs. A program's directory has a Makefile such as
#
#	PROGS := kb-xdp
#	kb-xdp-src := xdp.c		# C sources
#	kb-xdp-bpf := xdp		# BPF objects: kmods/bpf/xdp.bpf.c -> #include "xdp.skel.h"
#	kb-xdp-libs :=			# more libraries, e.g. $(shell pkg-config --static --libs libmnl)
#	include ../common.mk
#
# userspace/lib/*.c and libbpf are linked in where a program uses them.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

O ?= ../../build
override O := $(abspath $(O))
US := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
ROOT := $(abspath $(US)/..)
BIN := $(O)/bin
# One directory of objects for each program directory: sub-makes that run side by side never share a file.
OBJ := $(O)/obj/$(notdir $(CURDIR))
RULES := $(US)/common.mk $(CURDIR)/Makefile

CLANG ?= clang
PKG_CONFIG ?= pkg-config
# Ubuntu's /usr/sbin/bpftool is a wrapper that fails unless tools for the running kernel are installed.
BPFTOOL ?= $(firstword $(foreach b,bpftool /usr/sbin/bpftool $(wildcard /usr/lib/linux-tools/*/bpftool) \
	$(wildcard /usr/lib/linux-tools-*/bpftool),$(if $(shell $(b) version 2>/dev/null),$(b))))
# Empty on machines of users, whose compiler may warn of more than ours.
WERROR ?= -Werror

CFLAGS ?= -O2 -g
KB_CFLAGS := -std=gnu11 -Wall -Wextra $(WERROR) -D_GNU_SOURCE= -I$(ROOT)/core -I$(US)/lib -I$(OBJ)
BPF_CFLAGS ?= -O2 -g
KB_BPF_CFLAGS := -target bpf -mcpu=v3 -std=gnu11 -Wall $(WERROR) -I$(ROOT)/core -I$(ROOT)/kmods/bpf -I$(US)/lib \
	-idirafter /usr/include/$(shell $(CC) -print-multiarch)
LIBBPF = $(shell $(PKG_CONFIG) --static --libs libbpf)

LIB_SRC := $(wildcard $(US)/lib/*.c)
LIB_OBJ := $(patsubst $(US)/lib/%.c,$(OBJ)/lib/%.o,$(LIB_SRC))
LIB := $(OBJ)/libkb.a

all: $(PROGS:%=$(BIN)/%)

$(OBJ)/lib/%.o: $(US)/lib/%.c $(RULES)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KB_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	rm -f $@
	$(AR) rcs $@ $^

# The name of the object names the skeleton's types, hence the step by way of a directory of its own.
$(OBJ)/bpf/%.bpf.o: $(ROOT)/kmods/bpf/%.bpf.c $(RULES)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) $(KB_BPF_CFLAGS) -MMD -MP -MT $@ -MF $(OBJ)/bpf/$*.bpf.d -c -o $@ $<

$(OBJ)/%.bpf.o: $(OBJ)/bpf/%.bpf.o
	$(BPFTOOL) gen object $@ $<

$(OBJ)/%.skel.h: $(OBJ)/%.bpf.o
	$(BPFTOOL) gen skeleton $< name $(subst -,_,$*) > $@

define program
$(1)-obj := $$(patsubst %.c,$(OBJ)/%.o,$$($(1)-src))
$(1)-skel := $$(patsubst %,$(OBJ)/%.skel.h,$$($(1)-bpf))
$$($(1)-obj): | $$($(1)-skel)
$(BIN)/$(1): $$($(1)-obj) $(LIB) $(RULES)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(LDFLAGS) -static -o $$@ $$($(1)-obj) $(LIB) $$($(1)-libs) $$(LIBBPF) -lm
endef
$(foreach prog,$(PROGS),$(eval $(call program,$(prog))))

# A static pattern rule, so that a source which is missing is named.
$(sort $(foreach prog,$(PROGS),$($(prog)-obj))): $(OBJ)/%.o: $(CURDIR)/%.c $(RULES)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(KB_CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(OBJ)/*.d $(OBJ)/lib/*.d $(OBJ)/bpf/*.d)

.PHONY: all
