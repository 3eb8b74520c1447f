package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/structpb"
)

// openAtOnce bounds the handshakes under way, as a listen queue is bounded too.
const openAtOnce = 32

// runClient prints "ready" when all streams have all endpoints, and after each line on stdin
// "responses N": how many responses with endpoints all streams together have ACKed so far.
func runClient(address string, streams int, with credentials.TransportCredentials) {
	var responses atomic.Int64
	var ready sync.WaitGroup
	slots := make(chan struct{}, openAtOnce)
	for i := range streams {
		ready.Add(1)
		slots <- struct{}{}
		go follow(address, i, with, &responses, func() { <-slots; ready.Done() })
	}
	ready.Wait()
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Printf("responses %d\n", responses.Load())
	}
}

// follow subscribes to all clusters and to the endpoints of each, and ACKs whatever comes.
func follow(address string, i int, with credentials.TransportCredentials, responses *atomic.Int64, ready func()) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(with), grpc.WithNoProxy())
	check(err)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(connection).DeltaAggregatedResources(context.Background())
	check(err)
	check(stream.Send(&discovery.DeltaDiscoveryRequest{Node: node(i), TypeUrl: resource.ClusterType}))
	subscribed, complete := false, false
	for {
		response, err := stream.Recv()
		check(err)
		check(stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: response.TypeUrl, ResponseNonce: response.Nonce}))
		switch {
		case response.TypeUrl == resource.ClusterType && !subscribed:
			subscribed = true
			check(stream.Send(&discovery.DeltaDiscoveryRequest{
				TypeUrl: resource.EndpointType, ResourceNamesSubscribe: called(response)}))
		case response.TypeUrl == resource.EndpointType:
			responses.Add(1)
			if !complete {
				complete = true
				ready()
			}
		}
	}
}

// called returns the names of the clusters whose endpoints come over the stream.
func called(response *discovery.DeltaDiscoveryResponse) []string {
	var names []string
	for _, r := range response.Resources {
		if r.Name != "local_app" {
			names = append(names, r.Name)
		}
	}
	return names
}

// node describes a sidecar as a bootstrap of ours does; go-control-plane reads nothing of it but the id.
func node(i int) *core.Node {
	metadata, err := structpb.NewStruct(map[string]any{
		"service": "client", "version": "v1", "boot": "1",
		"address": fmt.Sprintf("127.%d.%d.1", 64+i/256, i%256), "port": 15006,
		"app_address": "127.0.0.1", "app_port": 20000, "metrics_port": 15090,
	})
	check(err)
	return &core.Node{Id: fmt.Sprintf("client-v1-%d", i), Cluster: "client", Metadata: metadata}
}
