"""A service manager's notification socket: prints each datagram as a JSON line, with the pid that the kernel vouches for."""
import json
import socket
import struct
import sys

address = sys.argv[1]
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
server.bind("\0" + address[1:] if address.startswith("@") else address)
print(json.dumps({"pid": 0, "lines": ["LISTENING"]}), flush=True)
while True:
    # Room for the credentials alone: the descriptor of a barrier is closed by the kernel.
    data, ancillary, _, _ = server.recvmsg(65536, socket.CMSG_SPACE(12))
    pid = next(struct.unpack("iII", value[:12])[0] for _, kind, value in ancillary if kind == socket.SCM_CREDENTIALS)
    print(json.dumps({"pid": pid, "lines": data.decode().splitlines()}), flush=True)
