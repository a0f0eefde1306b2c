// Functions that JavaScript calls. Numbers pass as they are; arrays pass as their address in the memory of
// the instance, which the caller allocates.
#pragma once

#define MOTEGPT_EXPORT(name) extern "C" __attribute__((export_name(#name), used))
