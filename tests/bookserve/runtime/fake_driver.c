/* A driver of NVIDIA in 40 lines: answers as the environment says. Built by test_cuda.py as libcuda and as libnvidia-ml. */
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) { const char *text = getenv(name); return text ? atoi(text) : otherwise; }

int cuInit(unsigned flags) { return number("FAKE_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = number("FAKE_CUDA", 13000); return 0; }
int cuDeviceGetCount(int *count) { *count = number("FAKE_GPUS", 2); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strcpy(name, device ? "Small" : "Large"); return 0; }
int cuDeviceGetPCIBusId(char *bus, int size, int device) { strcpy(bus, device ? "0:1" : "0:0"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device ? 8 : 80) << 30; return 0; }
int cuGetErrorString(int code, const char **text) { *text = "system driver mismatch"; return 0; }

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strcpy(text, "580.65"); return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **handle) { *handle = (void *)(size_t)(bus[2] - '0' + 1); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *memory) {
  /* the second GPU, with handle 2, has more memory left */
  memory[0] = 0, memory[1] = (handle == (void *)2 ? 7ull : 3ull) << 30, memory[2] = 0;
  return 0;
}

static int pinned = 0;
int cudaHostRegister(void *address, size_t size, unsigned flags) { return number("FAKE_PIN", 0) ? 1 : (pinned++, 0); }
int cudaHostUnregister(void *address) { pinned--; return 0; }
int pinned_arrays(void) { return pinned; }
