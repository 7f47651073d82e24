// Package compose holds one test: it builds the images, brings docker-compose.yml up under a project name of its own,
// sells a product on every stage with the load generator's image, and takes everything down. It skips, and says why,
// where no container engine answers.
package compose
